"""Whether a long queue costs more per task: publishing to it and draining from it, at 1,000 and at 1,000,000 queued."""

from __future__ import annotations

from contextlib import closing
from statistics import median

from benchmarks.case import Case, Effort, Side
from benchmarks.client import Figures
from benchmarks.stages import Stage

SHORT, LONG = 1_000, 1_000_000
#: Tasks published, then drained, in one repetition; the first of those drained belong to the worker's start.
PUBLISHED = 6_000
SKIPPED = 1_000
#: The bar is narrow (10 %) and one window is short: this many pairs make one figure.
PAIRS = 7


class StandingQueue:
    """A queue that is brought back to its length before every repetition."""

    def __init__(self, case: Case, length: int) -> None:
        self._case, self._length = case, length
        self._queued = 0

    def repetition(self) -> Figures:
        """Microseconds per task: published 100 a call to a queue of this length, then drained down to it."""
        case = self._case
        before = max(self._length - self._queued, 200)
        published = case.client("fill_then_time", before=before, count=PUBLISHED, size=100)["seconds"]
        case.stamps.path.write_bytes(b"")
        worker = case.worker(1)
        case.stamps.wait(PUBLISHED, lambda: worker.alive, interval=0.002)
        worker.stop(15)
        times = case.stamps.times()
        self._queued += before + PUBLISHED - len(times)
        drained = times[PUBLISHED - 1] - times[SKIPPED]
        return {"publish": published / PUBLISHED * 1e6, "drain": drained / (PUBLISHED - 1 - SKIPPED) * 1e6}


def cost(side: Side, stage: Stage, effort: Effort) -> Figures:
    """Medians of repetitions in turns on a short and on a long queue, and of the ratios of each pair."""
    with closing(stage.sibling()) as second, Case(side.peer, stage) as one, Case(side.peer, second) as other:
        short, long = StandingQueue(one, SHORT), StandingQueue(other, effort.count(LONG))
        _pair(short, long)  # not counted: caches, allocators, the server's pages
        pairs = [_pair(short, long) for _ in range(PAIRS)]
    return {name: median(pair[name] for pair in pairs) for name in pairs[0]}


def _pair(short: StandingQueue, long: StandingQueue) -> Figures:
    few, many = short.repetition(), long.repetition()
    figures: Figures = {}
    for what in ("publish", "drain"):
        figures |= {f"{what}_short": few[what], f"{what}_long": many[what], f"{what}_ratio": many[what] / few[what]}
    return figures
