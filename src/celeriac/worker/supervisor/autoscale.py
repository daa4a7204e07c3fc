"""How many slots a node uses between its least and its most (`--autoscale=10,3`): by what waits, and how long tasks
take.

Celery looks at busy slots: a thousand messages of a millisecond keep all of them busy and need no more of them, and ten
of a minute need ten at once. Here the work that waits, in seconds a slot, decides; where nothing has ended yet, the age
of what runs stands for the run time. Slots that nobody needed for `AUTOSCALE_KEEPALIVE` seconds (30) go, one after the
other; what runs is never ended for it.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable

from .board import Board
from .crew import Crew

logger = logging.getLogger("celeriac.worker")

#: Seconds of waiting work a slot above which there are to be more.
WORTH = 1.0
#: Seconds between looks.
LOOK = 0.5


class Autoscaler:
    """Pure: told how the node stands, it answers how many slots there are to be. `keepalive` in seconds."""

    def __init__(self, least: int, most: int, keepalive: float) -> None:
        self.least = least
        self.most = most
        self._keepalive = keepalive
        #: Since when fewer would have done, and how many were busy at most since then.
        self._spare_since: float | None = None
        self._needed = 0

    def look(self, slots: int, busy: int, backlog: int, run_time: float, now: float) -> int:
        """`run_time` of a task in seconds. At most twice as many as there are come at once."""
        waiting = backlog * run_time
        if backlog and busy >= slots and waiting > WORTH * slots:
            self._spare_since = None
            return max(slots, min(self.most, 2 * slots, slots + backlog, math.ceil(waiting / WORTH)))
        if slots <= self.least or busy >= slots or backlog > slots:
            self._spare_since = None
            return max(slots, self.least)
        if self._spare_since is None:
            self._spare_since, self._needed = now, busy
        self._needed = max(self._needed, busy)
        if now - self._spare_since < self._keepalive:
            return slots
        target = max(self.least, self._needed, slots - 1 if slots < 8 else slots * 3 // 4)
        self._spare_since = now - 0.9 * self._keepalive if target > self.least else None
        return target


class Scaling:
    """From the supervisor's loop. It has the crew grow or shrink; in pools of many lanes they are used or not."""

    def __init__(self, least: int, most: int, lanes: int, crew: Crew, board: Board) -> None:
        keepalive = float(os.environ.get("AUTOSCALE_KEEPALIVE") or 30)
        self._scaler = Autoscaler(least, most, keepalive)
        self._lanes = lanes
        self._crew = crew
        self._board = board
        self._next = 0.0
        #: Slots that are to be used.
        self.slots = least
        if lanes > 1:
            crew.use_lanes(self._share(least))

    def tick(self, now: float, backlog: int | None) -> None:
        if now < self._next or backlog is None or self._crew.pauses:
            return
        self._next = now + LOOK
        ready = self._crew.ready()
        ages = [now - run.since for handle in ready for run in self._board.runs(handle.slot)]
        times = [self._board.ran(handle.slot) for handle in ready]
        target = self._scaler.look(self.slots, len(ages), backlog, run_time(times, ages), now)
        if target != self.slots:
            logger.info("autoscale: %d slots instead of %d (%d messages wait)", target, self.slots, backlog)
            self._scale(target)

    def _scale(self, target: int) -> None:
        if self._lanes > 1:
            self._crew.use_lanes(self._share(target))
            self.slots = target
            return
        while self.slots < target and self._crew.grow():
            self.slots += 1
        idle = [handle for handle in reversed(self._crew.ready()) if not self._board.runs(handle.slot)]
        for handle in idle[: max(0, self.slots - target)]:
            if self._crew.retire(handle):
                self.slots -= 1

    def _share(self, slots: int) -> int:
        """Lanes of each process."""
        return math.ceil(slots / max(1, self._crew.slots))


def run_time(ended: Iterable[tuple[int, float]], ages: Iterable[float]) -> float:
    """Seconds that a task takes: the mean over runners, each with how many ended and their mean; or, if that is more,
    how long those that run now have taken so far."""
    known = [mean for tasks, mean in ended if tasks]
    so_far = list(ages)
    return max(
        sum(known) / len(known) if known else 0.0,
        sum(so_far) / len(so_far) if so_far else 0.0,
    )
