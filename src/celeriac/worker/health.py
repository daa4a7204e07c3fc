"""Health over HTTP: `/healthz` and `/readyz`, for whoever watches a node (docs/health.md).

A thread of the supervisor, stdlib only. It reads a few numbers that the supervisor's loop leaves behind and takes no
lock, asks no broker and waits for nobody: a slow client costs its own connection and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from ..errors import CeleriacError

logger = logging.getLogger("celeriac.worker.health")

#: The port is another's.
EX_OSERR = 71
#: Seconds without a turn of the supervisor's loop after which it counts as hung.
LOOP = 10.0
#: Seconds that the broker may be away before a restart of the node is suggested: it reconnects by itself.
BROKER = 30.0
#: Seconds in which a node with free slots starts nothing though its queues are not empty.
INTAKE = 60.0

#: Connections at a time; one more ends the oldest.
_CONNECTIONS = 32
#: Seconds and bytes that a request may take.
_PATIENCE = 5.0
_LONGEST = 8192
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class PortTaken(CeleriacError):
    """Health cannot be served where it was asked for."""


class Vitals:
    """What is known of a node. The supervisor's loop writes, the health thread reads: single values, no lock."""

    def __init__(self, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.node = node
        self._clock = clock
        self._born = clock()
        #: When the loop last looked; when something was last seen to run, or nothing waited; when the broker was there.
        self._looked = self._progress = self._broker_seen = self._born
        #: Until then the app is being loaded, which may take its time.
        self._began = False
        self.slots = self.running = self.runners_ready = 0
        self.backlog: int | None = None
        self.online = self.stopping = False
        #: Why intake stands still on purpose; empty if it does not.
        self.paused = ""
        #: Other facts for the body, by name.
        self.more: dict[str, Any] = {}

    def look(self, now: float, *, excused: bool) -> None:
        """The loop has written all the rest; `excused`: it is meant not to start anything now."""
        if not self._began:
            self._began = True
            self._progress = self._broker_seen = now
        self._looked = now
        if self.online:
            self._broker_seen = now
        if excused or not self.backlog or self.running or not self.runners_ready or self.paused:
            self._progress = now

    def check(self) -> Checks:
        now = self._clock()
        loading = not self._began
        return Checks(
            loop=loading or now - self._looked < LOOP,
            broker=loading or now - self._broker_seen < BROKER,
            intake=loading or now - self._progress < INTAKE,
            runners=self.runners_ready > 0,
            online=self.online,
            stopping=self.stopping,
        )

    def facts(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "pid": os.getpid(),
            "uptime": round(self._clock() - self._born, 1),
            "slots": self.slots,
            "running": self.running,
            "runners_ready": self.runners_ready,
            "backlog": self.backlog,
            "paused": self.paused,
            **self.more,
        }


class Checks(Struct, frozen=True):
    """What health and readiness are judged by; True is good, but for `stopping`."""

    loop: bool
    broker: bool
    intake: bool
    runners: bool
    online: bool
    stopping: bool

    @property
    def healthy(self) -> bool:
        """A restart would not help."""
        return self.loop and self.broker and self.intake

    @property
    def ready(self) -> bool:
        """It takes messages."""
        return self.loop and self.online and self.runners and not self.stopping


def answer(path: str, vitals: Vitals) -> tuple[int, dict[str, Any]]:
    """Status and body for a path."""
    checks = vitals.check()
    if path == "/healthz":
        good, names = checks.healthy, ["loop", "broker", "intake"]
    elif path == "/readyz":
        good, names = checks.ready, ["loop", "online", "runners", "stopping"]
    else:
        return 404, {"error": "there are /healthz and /readyz"}
    shown = {name: getattr(checks, name) for name in names}
    return (200 if good else 503), {"status": "ok" if good else "unavailable", "checks": shown, **vitals.facts()}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `::` serves IPv4 as well where the system can. Raises: PortTaken."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=_PASSIVE)[0]
        sock = socket.socket(family, kind, proto)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6 and host == "::":
                with suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(address)
            sock.listen(_CONNECTIONS)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise PortTaken(f"health cannot be served on {host} port {port}: {error.strerror or error}") from None
    sock.setblocking(False)
    return sock


_PASSIVE = socket.AI_PASSIVE


class _Client:
    """One connection: what it has said, what is still to be sent to it, and until when."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock = sock
        self.deadline = deadline
        self.said = b""
        self.rest = b""


class HealthServer(threading.Thread):
    """Serves `vitals` on a socket of `listen` until `stop`."""

    def __init__(self, sock: socket.socket, vitals: Vitals) -> None:
        super().__init__(name="health", daemon=True)
        self._sock = sock
        self._vitals = vitals
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._stopped = False

    def stop(self) -> None:
        """Within a second the port is free."""
        self._stopped = True

    def run(self) -> None:
        self._selector.register(self._sock, selectors.EVENT_READ)
        while not self._stopped:
            try:
                self._turn()
            except Exception:  # whatever a client managed to do: the next one is to be answered
                logger.exception("a request for health failed")
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._sock.close()

    def _turn(self) -> None:
        for key, events in self._selector.select(timeout=0.5):
            if key.fileobj is self._sock:
                self._accept()
            elif client := self._clients.get(key.fd):
                try:
                    self._send(client) if events & selectors.EVENT_WRITE else self._receive(client)
                except OSError:
                    self._drop(client)
        now = time.monotonic()
        for client in [each for each in self._clients.values() if now > each.deadline]:
            self._drop(client)

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except OSError:
            return
        if len(self._clients) >= _CONNECTIONS:
            self._drop(next(iter(self._clients.values())))
        sock.setblocking(False)
        self._clients[sock.fileno()] = _Client(sock, time.monotonic() + _PATIENCE)
        self._selector.register(sock, selectors.EVENT_READ)

    def _receive(self, client: _Client) -> None:
        part = client.sock.recv(4096)
        client.said += part
        if b"\r\n\r\n" in client.said or b"\n\n" in client.said:
            client.rest = self._respond(client.said)
            self._selector.modify(client.sock, selectors.EVENT_WRITE)
        elif not part or len(client.said) > _LONGEST:
            self._drop(client)

    def _send(self, client: _Client) -> None:
        client.rest = client.rest[client.sock.send(client.rest) :]
        if not client.rest:
            self._drop(client)

    def _respond(self, request: bytes) -> bytes:
        method, _, rest = request.split(b"\n", 1)[0].decode("latin-1").strip().partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method in ("GET", "HEAD"):
            status, body = answer(path, self._vitals)
        else:
            status, body = 405, {"error": "GET and HEAD only"}
        text = json.dumps(body, default=str).encode() + b"\n"
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if method == "HEAD" else text)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.sock.fileno(), None)
        with suppress(KeyError, ValueError):
            self._selector.unregister(client.sock)
        client.sock.close()
