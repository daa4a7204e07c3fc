"""Text lines over a stream socket: how supervisor, template and runners talk. A word, then JSON if there is more.

    supervisor -> runner    wake | quiet | resume | quarantine | stop | rate {"task": "…", "limit": "10/m"}
                            pause {"why": "memory"} | unpause {"why": "memory"}   (reserve nothing meanwhile)
                            lanes {"most": 8}   (use so many of yours)
                            mourn {"payload": "base64", "kind": "timeout", "value": 5}   (hooks of one that was ended)
                            terminate {"receipt": 7, "signal": 15}   (where many run in a process)
    runner -> supervisor    spent (soon: a successor is wanted) | over (it reserves nothing more)
                            heavy {"kilobytes": 1} (before its first task)
    runner -> supervisor    overran {"limit": 5, "task": "…", "id": "…"}   (the soft limit was told to the task)
    runner -> supervisor    acknowledged {"receipt": 7, "queue": "…", "payload": "base64"}   (before the run)
    runner -> supervisor    ready | idle | quieted | quarantined {"ran": 0|1}
    supervisor -> template  fork {"slot": 0, "consumer": "…"} | attend   (with the new process's end of its line)
    supervisor -> attendant ready | stopping {"sig": "SIGTERM", "how": "Warm", "exitcode": 0} | ended
                            failed {"payload": "base64", "error": "WorkerLostError", "args": ["…"]}
                            revoked {"payload": "base64", "signum": 15}   (runs whose process is gone)
    template -> supervisor  hello {…} | failed {…} | forked {"slot": 0, "pid": 1} | exited {"pid": 1, "status": 9}

End of file means that the other side is dead: nothing else tells so quickly.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import socket
import threading
from typing import Any

from msgspec import structs

from ..wire import envelope

#: The longest message that travels on a line.
_LONGEST = 48_000


def on_line(payload: bytes) -> str:
    """A message as text for a line; of a long one only what heads it."""
    if len(payload) > _LONGEST:
        message = envelope.decode(payload)
        payload = envelope.encode(structs.replace(message, body=b""), "", "")
    return base64.b64encode(payload).decode()


class Line:
    """One end. `said()` never blocks; `say` blocks only while the other side does not read, and then after some 270
    short words: a supervisor's end is made `impatient`, since a runner reads nothing as long as its task runs."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        #: It never waits: what the other side has no room for is kept for the next word, or `push`.
        self.impatient = False
        self._unsent = bytearray()
        self._lock = threading.Lock()
        self._inode = os.fstat(sock.fileno()).st_ino
        self.closed = False
        self._rest = b""
        self._fds: list[int] = []

    @classmethod
    def pair(cls) -> tuple[Line, Line]:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(here), cls(there)

    def fileno(self) -> int:
        return self.sock.fileno()

    def intact(self) -> bool:
        """Whether our descriptor is still this line. A task that closes all descriptors takes those with it that are
        not its own, and the next one that is opened gets the number of one of them."""
        try:
            return os.fstat(self.sock.fileno()).st_ino == self._inode
        except OSError:
            return False

    def say(self, word: str, fds: tuple[int, ...] = (), **more: Any) -> None:
        """Send one line. A dead other side is no error here: `said` reports it."""
        text = f"{word} {json.dumps(more)}\n" if more else f"{word}\n"
        with contextlib.suppress(OSError):
            if fds:
                socket.send_fds(self.sock, [text.encode()], fds)
            elif self.impatient:
                self.push(text.encode())
            else:
                self.sock.sendall(text.encode())

    def push(self, more: bytes = b"") -> bool:
        """Send what is kept, as far as there is room for it. Returns whether that was all."""
        with self._lock:
            self._unsent += more
            while self._unsent:
                try:
                    sent = self.sock.send(self._unsent, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return False
                except OSError:  # a dead other side
                    sent = len(self._unsent)
                del self._unsent[:sent]
        return True

    def said(self, most_fds: int = 0) -> list[tuple[str, dict[str, Any]]]:
        """The lines that have arrived; sets `closed` at end of file. It never waits, so it may be called any time."""
        data = b""
        try:
            if most_fds:
                data, fds, _, _ = socket.recv_fds(self.sock, 65536, most_fds, socket.MSG_DONTWAIT)
                self._fds.extend(fds)
            else:
                data = self.sock.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except OSError:
            pass
        if not data:
            self.closed = True
            return []
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [_parse(line) for line in lines]

    def take_fd(self) -> int:
        """The next descriptor that came with a line."""
        return self._fds.pop(0)

    def readable(self) -> bool:
        """Whether a word, or the end, waits to be read."""
        return bool(select.select([self.sock], [], [], 0)[0])

    def close(self) -> None:
        self.closed = True
        self.sock.close()


def adopt(fd: int) -> Line:
    """The line whose descriptor was inherited or received."""
    return Line(socket.socket(fileno=fd))


def _parse(line: bytes) -> tuple[str, dict[str, Any]]:
    word, _, more = line.decode().partition(" ")
    return word, json.loads(more) if more else {}
