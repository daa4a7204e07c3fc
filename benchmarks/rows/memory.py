"""What a worker with two slots holds: idle, and with many tasks that are due in an hour."""

from __future__ import annotations

import time

from benchmarks.case import Case, Effort, Side
from benchmarks.client import Figures
from benchmarks.processes import Child
from benchmarks.stages import Stage


def idle(side: Side, stage: Stage, effort: Effort) -> Figures:
    """PSS of all processes after some tasks have run."""
    with Case(side.peer, stage) as case:
        worker = _warm_worker(case)
        return {"mb": worker.pss(), "processes": len(worker.tree())}


def countdown(side: Side, stage: Stage, effort: Effort) -> Figures:
    """Growth of PSS by tasks with countdown=3600, and the seconds from the last publish until the worker is idle."""
    with Case(side.peer, stage) as case:
        worker = _warm_worker(case)
        before = worker.pss()
        case.client("fill", task="stamp", count=effort.count(100_000), countdown=3600)
        seconds = _quiet(worker)
        left = stage.waiting(side.peer.queue)
        if left:
            raise RuntimeError(f"{left} messages still wait in the queue though the worker is idle")
        return {"mb": worker.pss() - before, "seconds": seconds}


def _warm_worker(case: Case, tasks: int = 200) -> Child:
    case.client("fill", task="stamp", count=tasks)
    worker = case.worker(2)
    case.stamps.wait(tasks, lambda: worker.alive)
    _quiet(worker)
    return worker


def _quiet(worker: Child, window: float = 2.0, share: float = 0.05, timeout: float = 300.0) -> float:
    """Wait until the worker uses less than `share` of a processor for `window` seconds; the seconds until that began.

    Raises: RuntimeError if it does not come to rest within `timeout` seconds.
    """
    started = time.monotonic()
    while time.monotonic() - started < timeout:
        begun, used = time.monotonic(), worker.cpu()
        time.sleep(window)
        if not worker.alive:
            raise RuntimeError("the worker ended by itself")
        if worker.cpu() - used < window * share:
            return begun - started
    raise RuntimeError(f"the worker did not come to rest within {timeout:.0f} s")
