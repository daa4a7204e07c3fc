"""`select.poll`, also where eventlet has taken it away: its patched world knows `select.select` only.

Nothing here is kept for later: a process may be patched after this was imported.
"""

from __future__ import annotations

import select
from typing import Any


def poller() -> Any:
    """A `select.poll` object, or one that does the same by `select.select` (so for reading and writing only)."""
    make = getattr(select, "poll", None)
    return SelectPoller() if make is None else make()


class SelectPoller:
    """The part of `select.poll` that is used here."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, fd: Any, events: int = select.POLLIN | select.POLLOUT) -> None:
        self._events[fd if isinstance(fd, int) else fd.fileno()] = events

    def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]]:
        reading = [fd for fd, events in self._events.items() if events & select.POLLIN]
        writing = [fd for fd, events in self._events.items() if events & select.POLLOUT]
        seconds = None if milliseconds is None or milliseconds < 0 else milliseconds / 1000
        readable, writable, _ = select.select(reading, writing, [], seconds)
        found = dict.fromkeys(readable, select.POLLIN)
        for fd in writable:
            found[fd] = found.get(fd, 0) | select.POLLOUT
        return list(found.items())
