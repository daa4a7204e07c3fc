"""Dead letters of a real worker: kept with their traceback, given a second chance, mended and sent again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.processes import until
from tests.servers import RedisServer

TASKS = """
    import os
    from celeriac import Celery

    app = Celery("tasks", broker="@broker@", backend="@broker@")
    app.conf.task_max_strikes = 2

    def note(line):
        with open("notes", "a") as file:
            file.write(line + "\\n")

    @app.task(dead_letter=True, dead_letter_requeue_after=0.2, dead_letter_max_requeues=2)
    def breaks(x):
        note(f"breaks {x}")
        return 100 / x

    @app.task
    def kills():
        os.kill(os.getpid(), 9)
"""


@pytest.fixture(params=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.ask("FLUSHALL")
        url = server.url()
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, broker=url)
    yield stage
    stage.show()
    stage.close()


def test_second_chances_then_an_operator(stage: Stage) -> None:
    tasks = stage.client()
    dead = tasks.app.dead
    result = tasks.breaks.delay(0)
    killed = tasks.kills.delay()
    stage.node("-c", "2")
    stage.noted("breaks 0", times=3, within=30)
    until(lambda: dead.count() == 2, within=30, what="both are dead letters for good")
    until(lambda: dead.get(result.id).requeues == 2, within=20, what="its chances are used up")
    letter = dead.get(result.id)
    assert (letter.reason, letter.again, letter.detail) == ("failed", None, "ZeroDivisionError: division by zero")
    assert "return 100 / x" in letter.traceback
    assert [each.what for each in letter.history] == ["failed", "again"] * 2
    assert result.state == "FAILURE"
    lost = dead.get(killed.id)
    assert (lost.reason, lost.strikes) == ("lost", 2)
    assert [each.what for each in lost.history] == ["strike", "strike"]
    assert all("/" in each.who for each in lost.history)

    dead.edit(result.id, args=[4])
    assert stage.cli("-A", "tasks", "dead", "requeue", "--reason", "failed", "--countdown", "0.1") == "Sent again: 1.\n"
    fresh = tasks.app.AsyncResult  # what has seen an end, as `result` has, looks no more
    until(lambda: fresh(result.id).state == "SUCCESS", within=20, what="it succeeds with the arguments mended")
    assert fresh(result.id).get(timeout=5) == 25
    shown = json.loads(stage.cli("-A", "tasks", "dead", "show", killed.id, "--json"))
    assert [each["what"] for each in shown["history"]] == ["strike", "strike"]
    assert stage.cli("-A", "tasks", "dead", "purge", "--all", "-y") == "Deleted: 1.\n"
