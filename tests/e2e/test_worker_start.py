"""How a worker starts, or says why it does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.servers import free_port

TASKS = """
    from celeriac import Celery

    app = Celery("tasks", broker="@broker@", backend="@backend@")

    @app.task
    def add(x, y):
        return x + y
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.show()
    stage.close()


def embedded(stage: Stage) -> dict[str, str]:
    url = f"sqlite:///{stage.folder / 'queue.db'}"
    return {"broker": url, "backend": url}


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_without_a_broker_it_says_so_and_ends(stage: Stage, pool: str) -> None:
    url = f"redis://someone:s3cret@127.0.0.1:{free_port()}/0"
    stage.write("tasks.py", TASKS, broker=url, backend=url)
    began = time.monotonic()
    node = stage.node("-P", pool, "-c", "1", start=False)
    node.start(ready=False)
    assert node.wait(within=30) == 69
    assert time.monotonic() - began < 15
    (line,) = [line for line in node.output().splitlines() if line.startswith("celeriac: ")]
    assert "127.0.0.1" in line
    assert "s3cret" not in node.output()
    assert "Traceback" not in node.output()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_queue_file_that_cannot_be_made_is_named(stage: Stage, pool: str) -> None:
    (stage.folder / "a-file").write_text("")
    url = f"sqlite:///{stage.folder / 'a-file' / 'queue.db'}"
    stage.write("tasks.py", TASKS, broker=url, backend=url)
    node = stage.node("-P", pool, start=False)
    node.start(ready=False)
    assert node.wait(within=20) == 69
    assert "a-file/queue.db" in node.output()
    assert "Traceback" not in node.output()


def test_an_unknown_broker_scheme_is_named(stage: Stage) -> None:
    stage.write("tasks.py", TASKS, broker="carrier-pigeon://loft", backend="")
    node = stage.node(start=False)
    node.start(ready=False)
    assert node.wait(within=20) != 0
    assert "carrier-pigeon" in node.output()
    assert "redis" in node.output()


def test_an_app_that_starts_a_thread_runs_from_clean_interpreters(stage: Stage) -> None:
    """Forking a process with threads copies it half: they are named in a warning, and tasks run all the same."""
    stage.write(
        "tasks.py",
        TASKS
        + """
    import threading
    from multiprocessing import parent_process

    done = threading.Event()
    ticker = threading.Thread(target=done.wait, name="ticker", daemon=True)
    ticker.start()

    @app.task
    def ticks():
        return ticker.is_alive()
""",
        **embedded(stage),
    )
    node = stage.node("-c", "2")
    assert "thread 'ticker'" in node.output()
    assert "worker_pool_start_method" in node.output()
    tasks = stage.client()
    try:
        assert [result.get(timeout=10) for result in [tasks.add.delay(n, n) for n in range(20)]] == [
            2 * n for n in range(20)
        ]
        assert tasks.ticks.delay().get(timeout=10) is True
        assert node.stop() == 0
    finally:
        tasks.done.set()
        tasks.ticker.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_start_method_can_be_set(stage: Stage, method: str) -> None:
    stage.write(
        "tasks.py",
        TASKS + f"\n    app.conf.worker_pool_start_method = {method!r}\n",
        **embedded(stage),
    )
    node = stage.node("-c", "1")
    assert stage.client().add.delay(1, 2).get(timeout=10) == 3
    assert node.stop() == 0
    assert "WARNING: loading" not in node.output()


def test_an_app_in_a_package_with_relative_imports(stage: Stage) -> None:
    """`-A proj` finds proj.celery, as Celery's own guide lays a project out."""
    stage.write("proj/__init__.py", "")
    stage.write(
        "proj/celery.py",
        """
        from __future__ import annotations
        from celeriac import Celery

        app = Celery("proj", broker="@broker@", backend="@backend@", include=["proj.tasks"])

        if __name__ == "__main__":
            app.start()
        """,
        **embedded(stage),
    )
    stage.write(
        "proj/tasks.py",
        """
        from .celery import app

        @app.task
        def mul(x, y):
            return x * y
        """,
    )
    stage.node("-c", "1", app="proj")
    answer = stage.python("from proj.tasks import mul; print(mul.name, mul.delay(6, 7).get(timeout=10))")
    assert answer.stdout == "proj.tasks.mul 42\n"


def test_solo_does_what_prefork_does(stage: Stage) -> None:
    stage.write(
        "tasks.py",
        TASKS
        + """
    import os, sys

    @app.task(bind=True)
    def again(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0.05)
        return os.getpid()

    @app.task
    def leave():
        sys.exit(1)
""",
        **embedded(stage),
    )
    node = stage.node("-P", "solo")
    tasks = stage.client()
    left = tasks.leave.delay()
    assert str(left.get(timeout=10, propagate=False)) == "Worker exited prematurely: exitcode 1."
    assert tasks.again.delay().get(timeout=10) == node.pid
    assert tasks.add.apply_async((1, 1), countdown=0.2).get(timeout=10) == 2
    assert node.members() == [node.pid]
    assert node.stop() == 0
