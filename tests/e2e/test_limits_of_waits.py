"""Bodies that wait for results are told their limit inside of the wait, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.exceptions import TaskRevokedError
from tests.e2e.stage import Stage

TASKS = """
    import os, time
    from celeriac import Celery, group
    from celeriac.exceptions import SoftTimeLimitExceeded
    from celeriac.result import allow_join_result

    app = Celery("tasks", broker="@url@", backend="@url@")

    @app.task
    def never():
        pass

    @app.task
    def waits(how):
        with open(os.path.join("@folder@", "notes"), "a") as file:
            file.write(how + "\\n")
        began = time.monotonic()
        one = never.si().set(queue="nobody")
        try:
            with allow_join_result():
                if how == "get":
                    one.apply_async().get()
                else:
                    group([one, one]).apply_async().join()
        except SoftTimeLimitExceeded:
            return os.getpid(), time.monotonic() - began

    @app.task
    def reads(task_id):
        with allow_join_result():
            return os.getpid(), app.AsyncResult(task_id).get(timeout=20)
"""

LIMIT = 0.5


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, url=f"sqlite:///{tmp_path / 'queue.db'}", folder=tmp_path)
    yield stage
    stage.show()
    stage.close()


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_a_body_that_waits_for_a_result_is_told_its_limit(stage: Stage, pool: str) -> None:
    tasks = stage.client().app.tasks
    stage.node("-P", pool, "-c", "1")
    for how in ("get", "join"):
        told = tasks["tasks.waits"].apply_async((how,), soft_time_limit=LIMIT)
        pid, seconds = told.get(timeout=20)
        # Celery's own would be told at once; the rest is what a busy machine may take. Untold it would never end.
        assert LIMIT <= seconds < LIMIT + 2
        # The next of the same lane reads what the one before came to, and nothing comes to it.
        read = tasks["tasks.reads"].apply_async((told.id,), soft_time_limit=60)
        assert read.get(timeout=20) == [pid, [pid, seconds]]
    if pool == "prefork":  # a termination ends the process there
        return
    waiting = tasks["tasks.waits"].delay("join")
    stage.noted("join", times=2)
    waiting.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        waiting.get(timeout=20)
    assert tasks["tasks.reads"].delay(told.id).get(timeout=20)[0] == pid
