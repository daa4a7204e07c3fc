"""Every pool keeps the same contract: what a task may do, what becomes of it, and how its worker ends under load."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from celeriac.brokers.base import Counts
from tests.e2e.stage import Stage
from tests.processes import until
from tests.servers import RedisServer

TASKS = """
    import asyncio, os, threading, time
    from celeriac import Celery, current_task
    from celeriac.result import allow_join_result
    from celeriac.utils.log import get_task_logger

    app = Celery("tasks", broker="@broker@", backend="@backend@")
    HERE = "@folder@"

    def note(line):
        with open(os.path.join(HERE, "notes"), "a") as file:
            file.write(line + "\\n")

    @app.task
    def add(a, b):
        return a + b

    @app.task(bind=True)
    def who(self, seconds=0.05):
        before = self.request.id
        time.sleep(seconds)
        return [before, self.request.id, current_task.request.id, current_task.name, self.request.args[0]]

    @app.task(bind=True)
    async def who_awaits(self, seconds=0.05):
        before = self.request.id
        await asyncio.sleep(seconds)
        return [before, self.request.id, current_task.request.id, current_task.name, self.request.args[0]]

    @app.task
    def fails():
        raise KeyError("no such thing")

    @app.task
    async def fails_awaiting():
        await asyncio.sleep(0)
        raise KeyError("no such thing")

    @app.task(bind=True, max_retries=2)
    def thrice(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.retries

    @app.task
    def quits():
        raise SystemExit(3)

    @app.task
    def generates():
        async def values():
            yield 1
        return values()

    @app.task(ignore_result=False)
    def asks():
        with allow_join_result():
            return add.delay(20, 22).get(timeout=10)

    @app.task(bind=True)
    def quick(self, seconds):
        note(f"quick {self.request.id}")
        time.sleep(seconds)

    @app.task(acks_late=False)
    def early(n):
        note(f"early {n}")
        return n

    @app.task
    def hold(name):
        note(f"holds {name}")
        while not os.path.exists(os.path.join(HERE, name)):
            time.sleep(0.01)
        note(f"held {name}")
"""

ALONE = {"prefork": ("-c", "2"), "solo": ()}
MANY = {
    "threads": ("-c", "4"),
    "asyncio": ("-c", "40"),
    "gevent": ("-c", "4"),
    "eventlet": ("-c", "4"),
}
GREEN = ("gevent", "eventlet")
#: Each kind of lane with one engine, each engine with several kinds.
ENGINES = {"prefork": "sqlite", "solo": "redis", "threads": "redis", "asyncio": "sqlite", "gevent": "redis"}


@pytest.fixture
def stage(pool: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    if ENGINES.get(pool, "sqlite") == "sqlite":
        broker = backend = f"sqlite:///{tmp_path / 'queue.db'}"
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        server.ask("FLUSHALL")
        broker, backend = server.url(0), server.url(1)
    stage.write("tasks.py", TASKS, broker=broker, backend=backend, folder=tmp_path)
    yield stage
    (tmp_path / "gate").touch()
    stage.show()
    stage.close()


@pytest.fixture
def tasks(stage: Stage) -> ModuleType:
    return stage.client()


def counts(tasks: ModuleType) -> Counts:
    found: Counts = tasks.app.broker.count(["celery"])["celery"]
    return found


@pytest.mark.parametrize("pool", [*ALONE, *MANY])
def test_what_a_task_may_do(pool: str, stage: Stage, tasks: ModuleType) -> None:
    node = stage.node("-P", pool, *(ALONE | MANY)[pool])
    assert tasks.add.delay(1, 2).get(timeout=10) == 3
    seen(tasks.who)
    if pool not in GREEN:
        seen(tasks.who_awaits)
    for task in (tasks.fails, tasks.fails_awaiting):
        if task is tasks.fails or pool not in GREEN:
            failed = task.delay()
            with pytest.raises(KeyError, match="no such thing"):
                failed.get(timeout=10)
            first = failed.traceback.splitlines()[1]
            assert "tasks.py" in first, failed.traceback
    assert tasks.thrice.delay().get(timeout=10) == 2
    quit_ = tasks.quits.delay()
    until(quit_.ready, within=10, what="SystemExit is a failure")
    assert quit_.state == "FAILURE"
    generated = tasks.generates.delay()
    with pytest.raises(TypeError, match="async_generator"):
        generated.get(timeout=10)
    chained = tasks.add.apply_async((1, 2), link=tasks.hold.si("linked"))
    assert chained.get(timeout=10) == 3
    stage.noted("holds linked", within=10)
    (stage.folder / "linked").touch()
    stage.noted("held linked", within=10)
    if pool != "solo":  # the only slot there is would wait for itself
        assert tasks.asks.delay().get(timeout=10) == 42
    earlies = [tasks.early.delay(n) for n in range(10)]
    assert [result.get(timeout=10) for result in earlies] == list(range(10))
    assert len(stage.notes()) == 2 + 10
    assert node.stop(within=10) == 0
    assert counts(tasks) == Counts()
    assert tasks.app.broker.leases(["celery"]) == {}


def seen(task: Any) -> None:
    """Runs side by side, each with its own request."""
    results = [task.delay(0.05 + n / 1000) for n in range(8)]
    for n, result in enumerate(results):
        *ids, name, seconds = result.get(timeout=10)
        assert ids == [result.id] * 3
        assert (name, seconds) == (task.name, 0.05 + n / 1000)


@pytest.mark.parametrize("pool", list(MANY))
def test_a_long_task_holds_up_nobody_and_a_stop_loses_nothing(pool: str, stage: Stage, tasks: ModuleType) -> None:
    """One long task and 99 of 10 ms behind it, two slots; then a warm end under load."""
    stage.node("-P", pool, "-c", "2")
    tasks.hold.delay("gate")
    stage.noted("holds gate")
    began = time.monotonic()
    behind = tasks.quick.send_many([((0.01,), {}) for _ in range(99)])
    until(lambda: len(stage.notes()) == 100, within=10, what="the 99 have run")
    until(lambda: len(tasks.app.backend.get_many([result.id for result in behind])) == 99, what="and are settled")
    assert time.monotonic() - began < 2.0
    more = tasks.quick.send_many([((0.01,), {}) for _ in range(300)])
    until(lambda: len(stage.notes()) > 150, what="more of them run")
    node = stage.nodes[0]
    node.signal(signal.SIGTERM)
    until(lambda: counts(tasks).in_flight == 1, what="only the long one is left")
    (stage.folder / "gate").touch()
    assert node.wait(within=10) == 0
    ran = Counter(line for line in stage.notes() if line.startswith("quick"))
    done = tasks.app.backend.get_many([result.id for result in more])
    assert set(ran.values()) == {1}
    assert len(ran) == 99 + len(done)
    assert counts(tasks) == Counts(ready=300 - len(done))
    assert "held gate" in stage.notes()


@pytest.mark.parametrize("pool", ["asyncio"])
def test_coroutines_go_on_beside_tasks_that_fill_all_threads(pool: str, stage: Stage, tasks: ModuleType) -> None:
    """What finds no thread goes back to its queue, and runs when there is one."""
    stage.node("-P", pool, "-c", "40")
    for _ in range(32):
        tasks.hold.delay("gate")
    until(lambda: stage.notes().count("holds gate") == 32, what="all threads are taken")
    waiting = tasks.add.delay(1, 1)
    seen(tasks.who_awaits)
    assert waiting.state == "PENDING"
    until(lambda: counts(tasks).ready == 1, what="it is back in its queue, for whoever has room")
    (stage.folder / "gate").touch()
    assert waiting.get(timeout=10) == 2
