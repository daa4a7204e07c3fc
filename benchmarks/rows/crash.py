"""`kill -9` of the whole node under full load: what is lost, what runs twice, how long until all ran."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from benchmarks.case import Case, Effort, Side
from benchmarks.client import Figures
from benchmarks.stages import Stage
from benchmarks.stamps import Mark, Stalled

#: Seconds without any task after which the rest is called lost: more than two of our leases (15 s each).
PATIENCE = 40.0


def kill_node(side: Side, stage: Stage, effort: Effort) -> Figures:
    """2,000 tasks of 5 ms on two slots, killed at about 700, the same command started again."""
    tasks = effort.count(2000)
    with Case(side.peer, stage, numbered=True) as case:
        case.client("fill", task="mark", count=tasks)
        worker = case.worker(2)
        case.stamps.wait(2 * int(tasks * 0.35), lambda: worker.alive, interval=0.002)
        worker.kill()
        before = len(case.stamps)
        # A body that was cut has a start and no end, a repeated one more: so not records are counted, but tasks.
        second = case.worker(2)
        _until_all_ran(case, tasks, lambda: second.alive)
        marks = case.stamps.marks()
    return _judge(marks, before, tasks, second.started)


def _until_all_ran(case: Case, tasks: int, alive: Callable[[], bool]) -> None:
    seen, since = 0, time.monotonic()
    while True:
        ended = len({mark.number for mark in case.stamps.marks() if mark.phase == 2})
        if ended == tasks:
            return
        if ended > seen:
            seen, since = ended, time.monotonic()
        elif not alive():
            raise Stalled(f"the second worker ended by itself at {ended} of {tasks}")
        elif time.monotonic() - since > PATIENCE:
            return
        time.sleep(0.05)


def _judge(marks: list[Mark], before: int, tasks: int, restarted: float) -> Figures:
    """`lost` never ended; `twice` were started more than once; `open` were started and not ended at the kill."""
    starts = Counter(mark.number for mark in marks if mark.phase == 1)
    ends = {mark.number: mark.at for mark in reversed(marks) if mark.phase == 2}
    started, ended = ({mark.number for mark in marks[:before] if mark.phase == phase} for phase in (1, 2))
    return {
        "lost": tasks - len(ends),
        "twice": sum(count > 1 for count in starts.values()),
        "open": len(started - ended),
        "ran": len(ended),
        "seconds": max(ends.values()) - restarted,
    }
