"""Wards: runs of a runner of many lanes that are to be interrupted - at time limits, or because they were revoked.

An interruption strikes only where a body may be struck (`lanes.base`), so it is asked for again until it has, or until
the run is over. What it cannot strike is the supervisor's: it ends the process. All in the runner's own thread.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from ...errors import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from ...execution.admission import Admitted
from ..supervisor.board import Desk
from ..supervisor.deadlines import as_said
from .lanes.base import Lanes

logger = logging.getLogger("celery.worker.request")

#: Seconds between attempts to strike.
_AGAIN = 0.01
#: Deadlines of runs that are over and not yet forgotten, about.
_MANY = 64


class Wards:
    """`desk` is the runner's; `running` its runs by lane, as the roster keeps them; `mourn` calls hooks."""

    def __init__(self, lanes: Lanes, desk: Desk, running: Mapping[int, Admitted], mourn: Callable[..., None]) -> None:
        self._mourn = mourn
        self._lanes = lanes
        self._desk = desk
        self._running = running
        self._number = count()
        #: (when, number, whether it is the hard limit, lane, run); runs that are over are dropped when they come up.
        self._due: list[tuple[float, int, bool, int, Admitted]] = []
        self._hard: list[tuple[float, int, int, Admitted]] = []
        self._shown = 0.0
        #: What is to strike in a lane and has not yet.
        self._strikes: dict[int, tuple[Admitted, BaseException]] = {}

    def begin(self, places: Sequence[tuple[int, Admitted]], now: float) -> None:
        """These begin to run."""
        for lane, work in places:
            limits = work.limits
            if limits is None:
                continue
            if limits.soft:
                heapq.heappush(self._due, (now + limits.soft, next(self._number), False, lane, work))
            if limits.hard:
                heapq.heappush(self._due, (now + limits.hard, next(self._number), True, lane, work))
                heapq.heappush(self._hard, (now + limits.hard, next(self._number), lane, work))
        if len(self._due) > _MANY + 4 * len(self._running):
            self._forget_the_over()
        if self._hard:
            self._show()

    def _forget_the_over(self) -> None:
        """Limits may be far away: those of runs that are over would pile up until then, with their messages."""
        self._due = [entry for entry in self._due if self._running.get(entry[3]) is entry[4]]
        self._hard = [entry for entry in self._hard if self._running.get(entry[2]) is entry[3]]
        heapq.heapify(self._due)
        heapq.heapify(self._hard)

    def obey(self, word: str, more: dict[str, Any]) -> None:
        """What the supervisor says of runs: this one is to end, or the hooks of one that is gone are to be called."""
        if word == "terminate":
            self.terminate(more["receipt"], more["signal"])
        elif word == "mourn":  # hooks may take their time
            threading.Thread(target=self._mourn, kwargs=more, name="mourner", daemon=True).start()

    def terminate(self, receipt: int, number: int) -> None:
        """The run of this receipt is to end, as by a signal of that number."""
        for lane, work in self._running.items():
            if work.delivery.receipt == receipt:
                self._strikes[lane] = (work, Terminated(number))

    def tick(self, now: float) -> None:
        """Strike what is due. Cheap where nothing is."""
        while self._due and self._due[0][0] <= now:
            _, _, hard, lane, work = heapq.heappop(self._due)
            if self._running.get(lane) is work:
                self._exceeded(lane, work, hard=hard)
        if self._hard and self._running.get(self._hard[0][2]) is not self._hard[0][3]:
            self._show()
        for lane, (work, error) in list(self._strikes.items()):
            over = self._running.get(lane) is not work
            if over or self._lanes.interrupt(lane, work.delivery.receipt, error):
                del self._strikes[lane]

    def patience(self, now: float) -> float:
        """Seconds until the next `tick`."""
        if self._strikes:
            return _AGAIN
        return max(0.0, self._due[0][0] - now) if self._due else math.inf

    def _exceeded(self, lane: int, work: Admitted, *, hard: bool) -> None:
        limits = work.limits
        assert limits is not None
        name, task_id = work.request.shadow or work.task.name, work.request.id
        if hard:
            limit = as_said(limits.hard)
            logger.error("Hard time limit (%ss) exceeded for %s[%s]", limit, name, task_id)
            self._strikes[lane] = (work, TimeLimitExceeded(limit))
        else:
            limit = as_said(limits.soft)
            logger.warning("Soft time limit (%ss) exceeded for %s[%s]", limit, name, task_id)
            self._strikes[lane] = (work, SoftTimeLimitExceeded(limit))

    def _show(self) -> None:
        """The soonest hard deadline, for the supervisor: it looks at all lanes only when that is over."""
        hard = self._hard
        while hard and self._running.get(hard[0][2]) is not hard[0][3]:
            heapq.heappop(hard)
        soonest = hard[0][0] if hard else 0.0
        if soonest != self._shown:
            self._shown = soonest
            self._desk.limited(soonest)
