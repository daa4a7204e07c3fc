"""Deadlines: what the supervisor does when a run exceeds a time limit, or is to be ended because it was revoked.

A run in a main thread is told its soft limit by a signal, and its process is killed at the hard one, at once. Where
many run in a process, the runner tells them both limits itself; only what still runs a moment after its hard limit
costs the process, and what ran beside it goes back unharmed. It reads the board, and waits for nothing.
"""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Iterable

from .board import Board, Run
from .fates import Terminated, TimedOut
from .process import RunnerHandle

logger = logging.getLogger("celery.worker.request")

#: Seconds between signals of one soft limit, until the board says that it struck.
AGAIN = 0.05
#: Seconds after its hard limit at which a run beside others costs its process.
MERCY = 0.5
#: The same after the order to end it.
STUBBORN = 5.0


class Deadlines:
    """`look` at each runner at `soonest` (monotonic seconds) and at every tick."""

    def __init__(self, board: Board, *, alone: bool = False) -> None:
        """`alone`: the one runner is a thread of this process, which nothing here may end."""
        self._board = board
        self._alone = alone
        self.soonest = math.inf
        #: Of runs that are to end, when their patience is over: (consumer, receipt) -> instant.
        self._condemned: dict[tuple[str, int], float] = {}

    def look(self, handles: Iterable[RunnerHandle], now: float) -> None:
        self.soonest = math.inf
        handles = list(handles)
        if self._condemned:
            here = {handle.consumer for handle in handles}
            self._condemned = {key: most for key, most in self._condemned.items() if key[0] in here}
        for handle in handles:
            if handle.pid and not handle.killed_for:
                self._look_at(handle, now)

    def terminate(self, handle: RunnerHandle, receipt: int, number: int, now: float) -> bool:
        """End this run by a signal, or, where others run beside it, by the runner's own means first. False: it does not
        run, or is about to end already."""
        if not any(run.receipt == receipt for run in self._board.runs(handle.slot)):
            return False
        if (handle.consumer, receipt) in self._condemned:
            return False
        if self._alone:
            number = signal.SIGUSR1
        gentle = number == signal.SIGUSR1
        self._condemned[handle.consumer, receipt] = math.inf if gentle else now + STUBBORN
        self.soonest = min(self.soonest, now + STUBBORN)
        if self._board.lanes > 1:
            handle.line.say("terminate", receipt=receipt, signal=number)
            return True
        if not gentle:  # that one lets the body say how it ends
            handle.fates[receipt] = Terminated(number)
        self._board.end(handle.slot, receipt, number)
        _send(handle, number)
        return True

    # -- parts -------------------------------------------------------------------------------------------------------

    def _look_at(self, handle: RunnerHandle, now: float) -> None:
        many = self._board.lanes > 1
        if self._condemned:
            self._look_at_condemned(handle, now)
        if many and not 0.0 < self._board.limited(handle.slot) + MERCY <= now:
            self._note(self._board.limited(handle.slot), MERCY)
            return
        end = False
        runs = self._board.runs(handle.slot)
        for run in runs:
            if run.hard and run.hard + (MERCY if many else 0.0) <= now:
                end = True
            elif not many and run.soft and run.soft <= now:
                _send(handle, signal.SIGUSR1)
                self._note(now, AGAIN)
            self._note(0.0 if many else run.soft, 0.0 if run.soft > now else AGAIN)
            self._note(run.hard, MERCY if many else 0.0)
        if end:  # and with it all that had its time: told already, it would only run, and cost a process, again
            self._end(handle, [run for run in runs if 0.0 < run.hard <= now])

    def _note(self, instant: float, later: float) -> None:
        if instant:
            self.soonest = min(self.soonest, instant + later)

    def _end(self, handle: RunnerHandle, late: Iterable[Run]) -> None:
        for run in late:
            handle.fates[run.receipt] = TimedOut(as_said(run.hard - run.since))
        handle.kill("a task exceeded its time limit")

    def _look_at_condemned(self, handle: RunnerHandle, now: float) -> None:
        """Those that have ended are forgotten; those that did not, though they were to, end with their process."""
        for key, most in [item for item in self._condemned.items() if item[0][0] == handle.consumer]:
            if not any(run.receipt == key[1] for run in self._board.runs(handle.slot)):
                del self._condemned[key]
                handle.fates.pop(key[1], None)
            elif most <= now:
                handle.fates[key[1]] = Terminated(int(signal.SIGKILL))
                handle.kill("a revoked task did not end")
            else:
                self._note(most if most < math.inf else 0.0, 0.0)


def as_said(seconds: float) -> float:
    """The limit as whoever set it wrote it: 5 and not 5.0, nor 4.999999999."""
    rounded = round(seconds, 3)
    return int(rounded) if rounded == int(rounded) else rounded


def _send(handle: RunnerHandle, number: int) -> None:
    try:
        os.kill(handle.pid, number)
    except ProcessLookupError:
        pass
