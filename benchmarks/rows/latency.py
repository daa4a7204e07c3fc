"""How soon: an idle worker answers, a new worker runs its first task."""

from __future__ import annotations

from benchmarks.case import Case, Effort, Side
from benchmarks.client import Figures
from benchmarks.stages import Stage


def round_trip(side: Side, stage: Stage, effort: Effort) -> Figures:
    """`delay().get()` by one producer, with some idle milliseconds before each."""
    with Case(side.peer, stage) as case:
        case.worker(1)
        return case.client("trips", count=effort.count(600), pause=0.005)


def start(side: Side, stage: Stage, effort: Effort) -> Figures:
    """From the start of the worker's command to the first task, which is queued already."""
    with Case(side.peer, stage) as case:
        case.client("fill", task="stamp", count=1)
        worker = case.worker(1)
        case.stamps.wait(1, lambda: worker.alive)
        return {"ms": (case.stamps.times()[0] - worker.started) * 1000}
