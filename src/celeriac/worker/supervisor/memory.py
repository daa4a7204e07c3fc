"""The node's memory: above its limit nothing is reserved, below 95 % of it runners go on.

What runs is never ended for it. Memory that is not given back though nothing runs would keep the node waiting for ever:
then runners are replaced, the largest first; and where even fresh ones take more than the limit, it is not kept.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from .board import Board
from .crew import Crew

logger = logging.getLogger("celeriac.worker")

#: Runners go on below this share of the limit.
RESUME = 0.95
#: Seconds between looks; and no more than this share of the time is spent looking.
LOOK, SHARE = 1.0, 0.02
#: Seconds in which nothing runs after which memory counts as not coming back by itself.
IDLE = 2.0
WHY = "memory"


class Advice(Enum):
    """What is to be done."""

    NOTHING = "nothing"
    PAUSE = "pause"
    RESUME = "resume"
    REPLACE = "replace the largest runner"
    GIVE_UP = "give up"


class Gauge:
    """Pure: told what the node takes, it answers what is to be done. `most` in bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.paused = False
        self._idle_since: float | None = None
        self._replaced = 0
        self._given_up = False

    def look(self, taken: int, now: float, *, idle: bool, runners: int) -> Advice:
        """`idle`: nothing runs; `runners` there are."""
        if not self.paused:
            if taken <= self.most:
                self._given_up = False
            elif not self._given_up:
                self.paused, self._idle_since, self._replaced = True, None, 0
                return Advice.PAUSE
            return Advice.NOTHING
        if taken < self.most * RESUME:
            self.paused = False
            return Advice.RESUME
        if not idle:
            self._idle_since = None
            return Advice.NOTHING
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since < IDLE:
            return Advice.NOTHING
        self._idle_since = now
        if self._replaced < runners:
            self._replaced += 1
            return Advice.REPLACE
        self.paused, self._given_up = False, True
        return Advice.GIVE_UP


class NodeMemory:
    """Looks from the supervisor's loop. `taken` is what it saw last, bytes."""

    def __init__(self, most: int, crew: Crew, board: Board) -> None:
        self.taken = 0
        self._gauge = Gauge(most)
        self._crew = crew
        self._board = board
        self._next = 0.0

    def tick(self, now: float) -> None:
        if now < self._next:
            return
        self.taken = sum(proportional(pid) for pid in family(os.getpid()))
        self._next = now + max(LOOK, (time.monotonic() - now) / SHARE)
        ready = self._crew.ready()
        idle = not any(self._board.runs(slot) for slot in self._crew.runners)
        advice = self._gauge.look(self.taken, now, idle=idle, runners=len(ready))
        if advice is Advice.PAUSE:
            logger.warning("the node takes %s, more than %s: it reserves nothing until it is below", *self._figures())
            self._crew.pause(WHY)
        elif advice is Advice.RESUME:
            logger.warning("the node takes %s of %s: it goes on", *self._figures())
            self._crew.unpause(WHY)
        elif advice is Advice.REPLACE:
            self._replace()
        elif advice is Advice.GIVE_UP:
            logger.error("the node takes %s at rest, more than %s: it goes on all the same", *self._figures())
            self._crew.unpause(WHY)

    def _replace(self) -> None:
        handles = [each for each in self._crew.ready() if not each.leaving]
        if handles:
            largest = max(handles, key=lambda handle: proportional(handle.pid))
            logger.warning("runner %d is replaced for its memory: nothing runs in it", largest.slot)
            self._crew.succeed(largest)
            largest.line.say("stop")

    def _figures(self) -> tuple[str, str]:
        return f"{self.taken / 2**20:.0f} MB", f"{self._gauge.most / 2**20:.0f} MB"


def family(pid: int) -> Iterator[int]:
    """The process and all that descend from it, as far as their parents live."""
    yield pid
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        children = [child for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def proportional(pid: int) -> int:
    """Bytes that the process takes, pages that it shares counted in part; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(text.partition("\nPss:")[2].split(None, 1)[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0
