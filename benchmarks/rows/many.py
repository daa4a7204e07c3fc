"""Many at a time: coroutines that wait for a second, all in one process."""

from __future__ import annotations

from benchmarks.case import Case, Effort, Side
from benchmarks.client import Figures
from benchmarks.stages import Stage


def coroutines(side: Side, stage: Stage, effort: Effort) -> Figures:
    """10,000 of `await asyncio.sleep(1)`, queued beforehand, in as many slots: from the first's start to the last's
    end."""
    tasks = effort.count(10_000)
    with Case(side.peer, stage, numbered=True) as case:
        case.client("fill", task="doze", count=tasks)
        worker = case.worker(10_000)
        case.stamps.wait(2 * tasks, lambda: worker.alive)
        marks = case.stamps.marks()
    at = [mark.at for mark in marks]
    return {"seconds": max(at) - min(at), "most": _most_at_once([mark.phase for mark in sorted(marks, key=_when)])}


def _when(mark: tuple[int, int, float]) -> float:
    return mark[2]


def _most_at_once(phases: list[int]) -> float:
    now = most = 0
    for phase in phases:
        now += 1 if phase == 1 else -1
        most = max(most, now)
    return most
