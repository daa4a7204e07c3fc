"""Signals as events: a handler only notes the number; the supervisor's loop reads them one by one."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterable


class SignalMailbox:
    """Collects signals while it is open; `fileno` becomes readable when there is one. Main thread only."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)
        self._former_fd = signal.set_wakeup_fd(self._there.fileno(), warn_on_full_buffer=False)
        self._former = {number: signal.signal(number, _noted) for number in numbers}

    def fileno(self) -> int:
        return self._here.fileno()

    def take(self) -> list[int]:
        """The numbers that arrived since the last call, in order."""
        try:
            return [number for number in self._here.recv(4096) if number in self._former]
        except BlockingIOError:
            return []

    def close(self) -> None:
        signal.set_wakeup_fd(self._former_fd)
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._here.close()
        self._there.close()


def _noted(number: int, frame: object) -> None:
    """Nothing: the interpreter has written the number to the wakeup descriptor already."""
