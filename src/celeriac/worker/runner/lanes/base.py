"""Lanes: where bodies run in a runner that runs many at a time. This file is the port; each kind of lane is one file.

The runner's own thread (it reserves, hands over, settles) owns the numbers of the lanes: it hands work only to a lane
that is free, so whatever a lane has been given runs, and is on the board. Lanes touch neither broker nor board.

**Interruption.** `interrupt` makes the run of one receipt raise an exception that it did not ask for. It strikes that
run only, only while its body is on the stack (`execution.arming`), and never inside our own code that the body called
(`delay`, `get`): a lock or a connection left half-way would harm every other run. A body that waits there raises it
itself, where nothing is held (`foundation.safe_points`). So it may have to be asked again:
False means "not struck: it is not at a place where it may be, or it is over"; ask again a few milliseconds later, with
the same exception object, until it is true or the run has ended. What cannot be struck at all (a blocking C call) is
the supervisor's: it ends the process. A body may catch what struck it, as in Celery.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, Protocol

from ....brokers.base import Settlement
from ....execution.admission import Admitted

logger = logging.getLogger("celeriac.worker.runner")


class Ended(NamedTuple):
    """A run that is over: its lane is free again."""

    lane: int
    work: Admitted
    #: What becomes of its delivery; None: nothing is left to do.
    settlement: Settlement | None
    seconds: float


class Lanes(Protocol):
    """`run` first; everything else belongs to the thread that runs `main`."""

    def run(self, main: Callable[[], int]) -> int:
        """Call `main`, which is the runner, and return its answer; lanes are there while it runs. Called in the main
        thread, which `main` gets or not, as the kind of lane needs."""
        ...

    def room(self, work: Admitted, before: int) -> bool:
        """Whether a lane of its kind could begin with it at once, provided that a number is free and `before` others
        are submitted with it."""
        ...

    def submit(self, batch: Sequence[tuple[int, Admitted]]) -> None:
        """Begin with these, each in the lane of that number. Their ends are told by the `ended` that lanes are made
        with, in any thread."""
        ...

    def interrupt(self, lane: int, receipt: int, error: BaseException) -> bool:
        """See above. `error` is raised as it is. True: it is on its way, or has struck."""
        ...


#: Exit status of a process that must not go on.
EX_SOFTWARE = 70


def break_off(work: Admitted, error: BaseException) -> NoReturn:
    """Neither the body's failure nor a value: an error between the body and its settlement (of a value that raises
    SystemExit when it is shown, say). The process ends, as one of a single lane does: the board says what ran, a strike
    counts it, and in the end it is set aside. Were only the lane to end, nobody would ever hear of the run again."""
    name, task_id = work.task.name, work.request.id
    logger.critical("the runner ends by an error beside task %s[%s]", name, task_id, exc_info=error)
    os._exit(EX_SOFTWARE)


#: Tells the runner of an end; called in whichever thread the body ran.
Tell = Callable[[Ended], None]
