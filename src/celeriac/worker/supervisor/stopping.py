"""Stopping: what signals ask of a node, and by when it has ended whatever its tasks do. Part of the supervisor's loop.

Stages, as in Celery (guide: Workers, "Stopping the worker"):

    warm   SIGTERM, the first SIGINT         read-ahead goes back at once, running tasks end
    soft   SIGQUIT, the second SIGINT        the same, for `worker_soft_shutdown_timeout` seconds; then cold
    cold   the same where that is 0, where nothing runs (unless `worker_enable_soft_shutdown_on_idle`), and once more
           while soft                        running tasks go back to their queues now, blamed for nothing
    hard   once more while cold              exit code 1, and nobody is told: what was held comes back with its lease

SIGTERM while stopping changes nothing; with REMAP_SIGTERM=SIGQUIT in the environment it is a SIGQUIT.

Deadlines, in seconds, after which the node goes on with its end by itself:

    warm       none, or `worker_shutdown_grace`: then cold. A task may take its time, nothing else may:
    IDLE_END   a runner that has nothing to run and does not end is killed
    SILENCE    a killed runner whose end the template does not report (it is stopped, say) is given up with the template
    FAREWELL   the broker has so long to be told who has left; later the leases run out by themselves
    EXIT       after the loop: then the process ends as it stands
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Protocol

from .board import Board
from .crew import Crew
from .process import RunnerHandle

logger = logging.getLogger("celeriac.worker")

IDLE_END = 30.0
SILENCE = 5.0
FAREWELL = 10.0
EXIT = 40.0

#: Ended by force, with nobody told.
EX_HARD = 1

#: Told of each stage that begins: the signal's name, Celery's word for the stage (`Warm`, `Cold`), the exit code.
Announce = Callable[[str, str, int], None]


class Leave(Protocol):
    """What stopping must know of the plan."""

    @property
    def grace(self) -> float | None: ...
    @property
    def soft_shutdown(self) -> float: ...
    @property
    def soft_when_idle(self) -> bool: ...


class Stopping:
    """`signalled`, `tick` and `finished` are called from the loop; `begin_*` by whoever has a reason of its own."""

    def __init__(
        self,
        *,
        crew: Crew,
        board: Board,
        plan: Leave,
        give_back_all: Callable[[], None],
        announce: Announce = lambda sig, how, code: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crew = crew
        self._board = board
        self._plan = plan
        self._give_back_all = give_back_all
        self._announce = announce
        self._clock = clock
        self._quits = _quitting()
        #: Since when the node stops, and until when its soft shutdown lasts.
        self.since: float | None = None
        self._soft_until: float | None = None
        self.hard = False
        #: Since when a runner has had nothing to run, and since when it is known to be killed, by consumer.
        self._idle: dict[str, float] = {}
        self._killed: dict[str, float] = {}

    @property
    def begun(self) -> bool:
        return self.since is not None

    # -- what begins it ----------------------------------------------------------------------------------------------

    def signalled(self, number: int) -> None:
        """SIGTERM, SIGINT or SIGQUIT has arrived."""
        name = signal.Signals(number).name
        if number in self._quits or (number == signal.SIGINT and self.begun):
            self._quit(name)
        elif not self.begun:
            if number == signal.SIGINT:
                _say("worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!")
            self.begin_warm(name)
        else:
            _say("worker: Warm shutdown (MainProcess)")

    def begin_warm(self, name: str = "SIGTERM") -> None:
        """Start nothing more; what runs ends."""
        _say("worker: Warm shutdown (MainProcess)")
        self._begin()
        self._announce(name, "Warm", 0)

    def begin_cold(self) -> None:
        """What runs goes back now."""
        self._begin()
        self._soft_until = None
        self._crew.kill("shutdown")

    def _begin(self) -> None:
        if self.since is None:
            self.since = self._clock()
            self._crew.stop()
            self._give_back_all()

    def _quit(self, name: str) -> None:
        if self._crew.cold:
            _say("worker: Hard shutdown (MainProcess)")
            self.hard = True
        elif self._soft_until is not None:
            _say("Waiting gracefully for cold shutdown to complete...")
            self.begin_cold()
        else:
            _say("worker: Hitting Ctrl+C again will terminate all running tasks!")
            _say("worker: Cold shutdown (MainProcess)")
            self._announce(name, "Cold", 0)
            self._soft_or_cold()

    def _soft_or_cold(self) -> None:
        seconds = self._plan.soft_shutdown
        busy = self._plan.soft_when_idle or any(self._board.runs(slot) for slot in self._crew.runners)
        if seconds <= 0 or not busy:
            self.begin_cold()
            return
        logger.warning("Initiating Soft Shutdown, terminating in %s seconds", seconds)
        self._soft_until = self._clock() + seconds
        self._begin()

    # -- what ends it ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Keep the deadlines."""
        if self.since is None:
            return
        if self._soft_until is not None and now >= self._soft_until:
            self.begin_cold()
        grace = self._plan.grace
        if not self._crew.cold and self._soft_until is None and grace is not None and now - self.since > grace:
            logger.warning("tasks still run after the grace of %.0fs: they go back to their queues", grace)
            self.begin_cold()
        for handle in list(self._crew.runners.values()):
            self._watch(handle, now)
        self._give_up_silent(now)

    def finished(self, now: float) -> bool:
        """Whether nothing is left to wait for."""
        if self.hard:
            return True
        if self.since is None or self._crew.runners:
            return False
        return not self._crew.unsettled or now - max(self.since, self._crew.last_end) > FAREWELL

    def _watch(self, handle: RunnerHandle, now: float) -> None:
        """One that runs nothing has no reason to stay."""
        name = handle.consumer
        if handle.killed_for:
            self._killed.setdefault(name, now)
        elif self._board.runs(handle.slot) and not handle.line.closed:
            self._idle.pop(name, None)
        elif now - self._idle.setdefault(name, now) > (SILENCE if handle.line.closed else IDLE_END):
            logger.error("runner %d has nothing to run and does not end: it is killed", handle.slot)
            handle.kill("it did not end")
            self._killed[name] = now

    def _give_up_silent(self, now: float) -> None:
        """A template that reports no end is of no more use; but a runner that still runs a task dies with it."""
        handles = self._crew.runners.values()
        if handles and all(now - self._killed.get(each.consumer, now) > SILENCE for each in handles):
            logger.error("the template process does not say that its runners have ended: it is killed")
            self._crew.abandon()


def _quitting() -> tuple[int, ...]:
    """The signals that ask for a cold shutdown."""
    remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
    return (signal.SIGQUIT, signal.SIGTERM) if remapped else (signal.SIGQUIT,)


def _say(text: str) -> None:
    """Celery's texts: scripts look for them."""
    logger.warning("%s", text)
