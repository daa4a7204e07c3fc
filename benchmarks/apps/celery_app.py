"""The application for real Celery: its defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery  # type: ignore[import-untyped]

from . import bodies, settings

app = Celery("bench", broker=settings.URL, backend=settings.URL)
app.conf.task_ignore_result = not settings.RESULTS

stamp = app.task(name="bench.stamp")(bodies.stamp)
nap = app.task(name="bench.nap")(bodies.nap)
mark = app.task(name="bench.mark")(bodies.mark)

enqueue: Callable[[], Any] = stamp.delay


def send_many(task: str, numbers: Sequence[int | None], countdown: float | None = None) -> None:
    """One by one: Celery has no batch publish. A number becomes the only argument, None means no arguments."""
    call = app.tasks[f"bench.{task}"]
    options = {} if countdown is None else {"countdown": countdown}
    for number in numbers:
        call.apply_async(() if number is None else (number,), **options)


def trip() -> None:
    """From the call to the result."""
    stamp.delay().get(timeout=30)
