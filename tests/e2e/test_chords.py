"""Chords in real workers: the body runs once, or the chord ends with what became of a member, whatever that was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac import chain, chord
from celeriac.errors import ChordError
from tests.e2e.stage import Stage
from tests.servers import RedisServer

TASKS = """
    import os, time
    from celeriac import Celery

    app = Celery("tasks", broker="@url@", backend="@url@")

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def total(values):
        with open("@folder@/notes", "a") as file:
            file.write("total\\n")
        return sum(values)

    @app.task
    def dies():
        os._exit(3)

    @app.task(acks_late=False)
    def dies_early():
        os._exit(3)

    @app.task(time_limit=0.3)
    def slow():
        time.sleep(60)
"""


@pytest.fixture(params=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer) -> Iterator[Stage]:
    redis_server.ask("FLUSHALL")
    url = redis_server.url() if request.param == "redis" else f"sqlite:///{tmp_path / 'queue.db'}"
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, url=url, folder=tmp_path)
    try:
        yield stage
        stage.show()
    finally:
        stage.close()


def test_every_chord_ends(stage: Stage) -> None:
    stage.node("-c", "2")
    tasks = stage.client()
    add, total = tasks.add.s(1, 1), tasks.total.s()
    good = [chord([tasks.add.s(n, 1) for n in range(20)])(total) for _ in range(5)]
    bad = {
        "died": chord([add, tasks.dies.s(), add])(total),
        "died when it had been acknowledged": chord([add, tasks.dies_early.s()])(total),
        "took too long": chord([add, tasks.slow.s()])(total),
        "died before the last step": chord([add, chain(tasks.dies.s(), tasks.add.s(1))])(total),
        "died in a chord in a chord": chord([add, chord([tasks.dies.s(), add], total)])(total),
    }
    assert [result.get(timeout=20) for result in good] == [210] * 5
    for what, result in bad.items():
        assert type(result.get(timeout=20, propagate=False)) is ChordError, what
    assert stage.notes().count("total") == 5
