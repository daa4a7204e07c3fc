"""Limits of queues for producers, in the transaction that publishes: is there room, and who makes it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from ...drivers.sqlite import Step
from .. import overflow
from ..bounds import Bounds
from .dead import Corpse, bury
from .entry import number_of
from .sql import SQL


class Room:
    """Of one process. A queue is counted only where it could be full: counting takes 25 ns a message.

    It cannot be longer than it was when it was counted, and what was in flight then, and what has come since; whatever
    comes, or comes back from being put off, takes a number.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        #: Queue -> the most it can have held when the last number given was this.
        self._known: dict[str, tuple[int, int]] = {}

    def make(self, step: Step, more: Mapping[str, int]) -> dict[str, int]:
        """How many are to be dropped, by queue, once `more` have come. Raises: QueueFull."""
        last: int = step.execute(SQL.last_number).fetchone()[0]
        lengths = {name: self._length(step, name, count, last) for name, count in more.items()}
        return overflow.surplus(self._bounds, more, lengths)

    def _length(self, step: Step, name: str, more: int, last: int) -> int:
        """At least its length; the length itself where that may matter."""
        limit = self._bounds.length_of(name) or 0
        most, then = self._known.get(name, (limit, 0))
        if then <= last and most + last - then + more <= limit:
            return most + last - then
        queue = number_of(step, name)
        length, held = (int(step.execute(each, (queue,)).fetchone()[0]) for each in (SQL.length, SQL.count_held))
        self._known[name] = (length + held, last)
        return length

    def drop(self, step: Step, over: Mapping[str, int]) -> int:
        """Set the oldest of the least urgent aside. Returns how many older dead letters had to go."""
        corpses = [corpse for name, count in over.items() for corpse in self._oldest(step, name, count)]
        return bury(step, corpses, self._bounds, time.time())

    def _oldest(self, step: Step, name: str, count: int) -> Iterator[Corpse]:
        queue, limit = number_of(step, name), self._bounds.length_of(name) or 0
        while count > 0 and (row := step.execute(SQL.least_urgent, (queue,)).fetchone()):
            (priority,) = row
            for place, message, payload in step.execute(SQL.oldest, (queue, priority, count)).fetchall():
                step.execute(SQL.no_longer_waits, (queue, priority, place))
                count -= 1
                yield Corpse(overflow.dropped(payload, limit), queue, message, payload, priority, 0, "")
