"""Word to systemd: `Type=notify` services say when they are ready, reloading or stopping, and that they are alive.

Datagrams to the socket that NOTIFY_SOCKET names (sd_notify(3)); without one nothing is said. It never blocks.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress


class Notifier:
    """Takes its variables out of the environment: tasks and what they start are not to speak for the service."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        every = environ.pop("WATCHDOG_USEC", "")
        meant = environ.pop("WATCHDOG_PID", "")
        ours = not meant or meant == str(os.getpid())
        #: Seconds between signs of life, half of what systemd asks for; 0.0: it asks for none.
        self._every = int(every) / 2e6 if ours and every.isdigit() and self._address else 0.0
        self._next = 0.0

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=stopping: running tasks end first")

    def alive(self, now: float) -> None:
        """Call it often (`now`: monotonic seconds); it speaks as often as it is asked to."""
        if self._every and now >= self._next:
            self._next = now + self._every
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.setblocking(False)
            connection.sendto(text.encode(), address)
