"""The application for huey: on Redis or SQLite, its defaults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from huey import RedisHuey, SqliteHuey  # type: ignore[import-untyped]

from . import bodies, settings

if settings.URL.startswith("sqlite:///"):
    huey = SqliteHuey("bench", filename=settings.URL.removeprefix("sqlite:///"), results=settings.RESULTS)
else:
    huey = RedisHuey("bench", url=settings.URL, results=settings.RESULTS)

stamp = huey.task(name="stamp")(bodies.stamp)
nap = huey.task(name="nap")(bodies.nap)
mark = huey.task(name="mark")(bodies.mark)

_tasks = {"stamp": stamp, "nap": nap, "mark": mark}

enqueue: Callable[[], Any] = stamp


def send_many(task: str, numbers: Sequence[int | None], countdown: float | None = None) -> None:
    """One by one: huey has no batch publish. A number becomes the only argument, None means no arguments."""
    call = _tasks[task]
    for number in numbers:
        arguments = () if number is None else (number,)
        if countdown is None:
            call(*arguments)
        else:
            call.schedule(arguments, delay=countdown)


def trip() -> None:
    """From the call to the result."""
    stamp().get(blocking=True, timeout=30)
