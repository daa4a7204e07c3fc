"""Datagrams that say "look again" between processes of one machine. They carry nothing: who is woken reads the file.

A listener binds a Unix datagram socket: in the abstract name space where there is one (Linux: no file to leave behind,
gone with its process), else a file in a temporary folder. A datagram may be lost (a full socket, another container):
whoever waits must look by itself from time to time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import tempfile
import threading
from collections.abc import Iterable
from enum import Enum

from ...foundation.polling import poller

_ABSTRACT = sys.platform.startswith("linux")
#: The other end is gone for good; anything else (a full socket) is a listener that has been woken already.
_GONE = {errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET}

_INTERRUPT = b"!"


def _target(address: str) -> bytes | str:
    return b"\0" + address[1:].encode() if address.startswith("@") else address


class Heard(Enum):
    """How a wait ended."""

    NOTHING = 0
    BELL = 1
    INTERRUPT = 2


class Ear:
    """One listener. `wait` belongs to one thread at a time, `interrupt` to any."""

    def __init__(self) -> None:
        name = f"celeriac-{os.getpid()}-{os.urandom(8).hex()}"
        #: What a `Ringer` needs to know.
        self.address = f"@{name}" if _ABSTRACT else os.path.join(tempfile.gettempdir(), name)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_target(self.address))
        self._socket.setblocking(False)
        self._interrupted = threading.Event()
        self._ringer = Ringer()

    def drain(self) -> None:
        """Forget what was heard so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(16)

    def wait(self, timeout: float, also: int | None = None) -> Heard:
        """Until something is heard, `interrupt` is called, the file descriptor `also` is readable (which counts as an
        interrupt), or `timeout` seconds have passed."""
        heard = Heard.NOTHING
        if not self._interrupted.is_set():
            poll = poller()
            poll.register(self._socket, select.POLLIN)
            if also is not None:
                poll.register(also, select.POLLIN)
            if any(fd == also for fd, _ in poll.poll(1000 * max(0.0, timeout))):
                heard = Heard.INTERRUPT
        with contextlib.suppress(BlockingIOError):
            while True:
                if self._socket.recv(16) != _INTERRUPT:
                    heard = Heard.BELL
        if self._interrupted.is_set():
            self._interrupted.clear()
            return Heard.INTERRUPT
        return heard

    def ring(self) -> None:
        """From any thread: let `wait` hear the bell."""
        self._ringer.ring((self.address,))

    def interrupt(self) -> None:
        self._interrupted.set()
        self._ringer.ring((self.address,), _INTERRUPT)

    def close(self) -> None:
        self._socket.close()
        self._ringer.close()
        if not self.address.startswith("@"):
            with contextlib.suppress(OSError):
                os.unlink(self.address)


class Ringer:
    """Sends. Never waits."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def ring(self, addresses: Iterable[str], what: bytes = b"") -> list[str]:
        """Wake the listeners; returns those that are gone."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        gone = []
        for address in addresses:
            try:
                self._socket.sendto(what, _target(address))
            except OSError as error:
                if error.errno in _GONE:
                    gone.append(address)
        return gone

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
