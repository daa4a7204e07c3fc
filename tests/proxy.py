"""A TCP proxy that misbehaves on demand: between a client and a private server, for the fault tests.

It forwards bytes and knows no protocol. Two threads a connection: what matters here is being obvious, not being fast.
"""

from __future__ import annotations

import socket
import threading
from typing import Self


class Proxy:
    """Forwards a free loopback port to `host:port`.

    Modes may be switched while connections are open: `delay`, `black_hole`, `cut`, `refuse`; `heal` ends them all.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._flowing = threading.Event()
        self._flowing.set()
        self._closed = threading.Event()
        self._refusing = False
        self._delay = 0.0
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        #: Connections accepted so far.
        self.accepted = 0
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- faults ---------------------------------------------------------------------------------------------

    def cut(self) -> int:
        """Break every open connection now; new ones are served. Returns how many were broken."""
        with self._guard:
            victims, self._open = self._open, set()
        for victim in victims:
            _break(victim)
        return len(victims) // 2

    def refuse(self) -> None:
        """Break every connection, and each new one as soon as it is made, until `heal`."""
        self._refusing = True
        self.cut()

    def black_hole(self) -> None:
        """Connections stay open, new ones are accepted, and no byte passes until `heal`: a network that swallows."""
        self._flowing.clear()

    def delay(self, seconds: float) -> None:
        """Each piece of data waits so long before it passes, either way."""
        self._delay = seconds

    def heal(self) -> None:
        """Forward again; what a black hole held back now passes."""
        self._refusing = False
        self._delay = 0.0
        self._flowing.set()

    def close(self) -> None:
        self._closed.set()
        self._flowing.set()
        _break(self._listener)
        self.cut()
        self._thread.join(timeout=5)

    # -- inside ---------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            self.accepted += 1
            if self._refusing:
                _break(client)
                continue
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                _break(client)
                continue
            server.settimeout(None)
            with self._guard:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), name="proxy-pump", daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self._delay:
                    self._closed.wait(self._delay)
                self._flowing.wait()
                sink.sendall(data)
        except OSError:  # cut, or either end went away
            pass
        finally:
            with self._guard:
                self._open -= {source, sink}
            _break(source)
            _break(sink)


def _break(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
