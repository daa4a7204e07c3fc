"""The application for huey: its defaults, and on SQLite the durability that the stage asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from huey import RedisHuey, SqliteHuey  # type: ignore[import-untyped]
from huey.storage import SqliteStorage  # type: ignore[import-untyped]

from . import bodies, settings

_url = urlsplit(settings.URL)


class _Storage(SqliteStorage):  # type: ignore[misc]
    """With the durability that the stage asks for: huey itself offers its default (FULL) and OFF."""

    def _create_connection(self) -> Any:
        connection = super()._create_connection()
        for level in parse_qs(_url.query).get("synchronous", ()):
            connection.execute(f"PRAGMA synchronous = {level}")
        return connection


if _url.scheme == "sqlite":
    huey = SqliteHuey("bench", filename=_url.path, storage_class=_Storage, results=settings.RESULTS)
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
