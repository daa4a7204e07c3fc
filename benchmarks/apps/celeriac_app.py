"""The application for celeriac: the same as Celery's but for the import and the batch publish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celeriac import Celery

from . import bodies, settings

app = Celery("bench", broker=settings.URL, backend=settings.URL)
app.conf.task_ignore_result = not settings.RESULTS

stamp = app.task(name="bench.stamp")(bodies.stamp)
nap = app.task(name="bench.nap")(bodies.nap)
mark = app.task(name="bench.mark")(bodies.mark)

enqueue: Callable[[], Any] = stamp.delay


def send_many(task: str, numbers: Sequence[int | None], countdown: float | None = None) -> None:
    """One call of `Task.send_many`. A number becomes the only argument, None means no arguments."""
    options = {} if countdown is None else {"countdown": countdown}
    calls: list[tuple[tuple[int, ...], dict[str, int]]] = [
        (() if number is None else (number,), {}) for number in numbers
    ]
    app.tasks[f"bench.{task}"].send_many(calls, **options)


def trip() -> None:
    """From the call to the result."""
    stamp.delay().get(timeout=30)
