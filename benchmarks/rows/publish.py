"""How fast one producer publishes, with results on and no worker running."""

from __future__ import annotations

from benchmarks.case import Case, Effort, Side
from benchmarks.client import Figures
from benchmarks.stages import Stage


def one_by_one(side: Side, stage: Stage, effort: Effort) -> Figures:
    """`delay()` in a loop."""
    with Case(side.peer, stage) as case:
        return case.client("one_by_one", seconds=effort.seconds)


def batches(side: Side, stage: Stage, effort: Effort) -> Figures:
    """100 tasks a call; a peer that has no batches is measured one by one."""
    with Case(side.peer, stage) as case:
        return case.client("batches", seconds=effort.seconds, size=100)
