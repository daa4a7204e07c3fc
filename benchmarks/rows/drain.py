"""How fast a worker empties a queue that was filled beforehand: (n - 1) / (last - first) over all its processes."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.case import Case, Effort, Side
from benchmarks.client import Figures
from benchmarks.stages import Stage
from benchmarks.stamps import rate

Measure = Callable[[Side, Stage, Effort], Figures]


def throughput(side: Side, stage: Stage, effort: Effort, *, task: str, slots: int, results: bool) -> Figures:
    """Tasks a second; drained again with more tasks until it took long enough to mean something."""
    while True:
        times = _drain(side, stage, task=task, slots=slots, results=results)
        took = times[-1] - times[0]
        if took >= effort.seconds * 0.8:
            return {"rate": rate(times), "tasks": len(times)}
        side.count = int(side.count * min(20.0, 1.2 * effort.seconds / max(took, 0.01)))


def _drain(side: Side, stage: Stage, *, task: str, slots: int, results: bool) -> list[float]:
    with Case(side.peer, stage, results=results) as case:
        case.client("fill", task=task, count=side.count)
        worker = case.worker(slots)
        case.stamps.wait(side.count, lambda: worker.alive)
        return case.stamps.times()


def one_process(side: Side, stage: Stage, effort: Effort) -> Figures:
    """No-op bodies, one task process, results stored."""
    return throughput(side, stage, effort, task="stamp", slots=1, results=True)


def one_process_no_results(side: Side, stage: Stage, effort: Effort) -> Figures:
    """No-op bodies, one task process, results ignored."""
    return throughput(side, stage, effort, task="stamp", slots=1, results=False)


def second_process(side: Side, stage: Stage, effort: Effort) -> Figures:
    """What a second task process adds when bodies wait 1 ms."""
    one = throughput(side, stage, effort, task="nap", slots=1, results=True)["rate"]
    two = throughput(side, stage, effort, task="nap", slots=2, results=True)["rate"]
    return {"one": one, "two": two, "ratio": two / one}
