"""The producer's side of a measurement, in a process of its own: `python -m benchmarks.client MODULE ACTION JSON`.

Prints one line of JSON. A process of its own, so that each peer's client is measured with nothing of the others loaded.
"""

from __future__ import annotations

import gc
import importlib
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

Figures = dict[str, float]


def fill(app: Any, *, task: str, count: int, size: int = 500, countdown: float | None = None) -> Figures:
    """Publish `count` tasks, numbered where they take a number, `size` a call where the peer has batches."""
    started = time.perf_counter()
    for first in range(0, count, size):
        last = min(first + size, count)
        numbers = list(range(first, last)) if task in ("mark", "doze") else [None] * (last - first)
        app.send_many(task, numbers, countdown)
    return {"seconds": time.perf_counter() - started}


def fill_then_time(app: Any, *, before: int, count: int, size: int) -> Figures:
    """Publish `before` no-op tasks, then the `count` whose seconds are told: all is connected and warm by then."""
    fill(app, task="stamp", count=before)
    gc.collect()
    return fill(app, task="stamp", count=count, size=size)


def one_by_one(app: Any, *, seconds: float) -> Figures:
    """How many single calls a second."""
    return _repeat(app.enqueue, 1, seconds, chunk=100)


def batches(app: Any, *, seconds: float, size: int) -> Figures:
    """How many tasks a second, `size` a call."""
    numbers = [None] * size
    return _repeat(lambda: app.send_many("stamp", numbers), size, seconds, chunk=1)


def trips(app: Any, *, count: int, pause: float) -> Figures:
    """Milliseconds from the call to the result, with an idle time of about `pause` seconds before each."""
    for _ in range(30):
        app.trip()
    took = []
    for _ in range(count):
        # Uneven, so that no timer of either side can fall into step with it.
        time.sleep(pause * random.uniform(0.5, 1.5))
        started = time.perf_counter()
        app.trip()
        took.append((time.perf_counter() - started) * 1000)
    took.sort()
    return {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)], "worst": took[-1]}


def _repeat(call: Callable[[], Any], size: int, seconds: float, chunk: int) -> Figures:
    for _ in range(max(1, 200 // size)):
        call()  # connections, caches, lazy imports
    gc.collect()
    calls, started = 0, time.perf_counter()
    end = started + seconds
    while (now := time.perf_counter()) < end:
        for _ in range(chunk):
            call()
        calls += chunk
    return {"rate": calls * size / (now - started)}


def main(module: str, action: str, options: str) -> None:
    """Run one action against one peer's app."""
    actions = {act.__name__: act for act in (fill, fill_then_time, one_by_one, batches, trips)}
    print(json.dumps(actions[action](importlib.import_module(module), **json.loads(options))))


if __name__ == "__main__":
    main(*sys.argv[1:])
