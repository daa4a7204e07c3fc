"""How a worker ends: warm, cold, by grace, by the terminal. What runs, what waits behind it, what is queued then."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from celeriac.brokers.base import Counts
from tests.e2e.stage import Stage
from tests.processes import Node, until
from tests.servers import RedisServer

TASKS = """
    import os, time
    from celeriac import Celery

    app = Celery("tasks", broker="@broker@", backend="@backend@")
    app.conf.worker_shutdown_grace = float(os.environ.get("GRACE", 0)) or None

    @app.task
    def quick(n):
        return n

    @app.task(bind=True)
    def hold(self, folder):
        open(os.path.join(folder, "began"), "a").write("x")
        while not os.path.exists(os.path.join(folder, "gate")):
            time.sleep(0.01)
        open(os.path.join(folder, "ended"), "a").write("x")
        return self.request.delivery_info["redelivered"]
"""


@pytest.fixture(params=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    if request.param == "sqlite":
        broker = backend = f"sqlite:///{tmp_path / 'queue.db'}"
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        server.ask("FLUSHALL")
        broker, backend = server.url(0), server.url(1)
    stage.write("tasks.py", TASKS, broker=broker, backend=backend)
    yield stage
    (tmp_path / "gate").touch()
    stage.show()
    stage.close()


@pytest.fixture
def tasks(stage: Stage) -> ModuleType:
    return stage.client()


def began(stage: Stage, times: int = 1) -> None:
    path = stage.folder / "began"
    until(lambda: path.exists() and path.stat().st_size >= times, what="the task runs")


def ended(stage: Stage) -> int:
    path = stage.folder / "ended"
    return path.stat().st_size if path.exists() else 0


def counts(tasks: ModuleType) -> Counts:
    found: Counts = tasks.app.broker.count(["celery"])["celery"]
    return found


def test_warm_the_running_task_finishes_and_the_rest_goes_back(stage: Stage, tasks: ModuleType) -> None:
    before = tasks.quick.send_many([((n,), {}) for n in range(100)])
    running = tasks.hold.delay(str(stage.folder))
    behind = tasks.quick.send_many([((n,), {}) for n in range(100)])
    node = stage.node("-c", "1")
    began(stage)
    node.signal(signal.SIGTERM)
    until(lambda: counts(tasks) == Counts(ready=100, in_flight=1), what="what waits behind it is back in the queue")
    node.expect(r"Warm shutdown")
    assert node.alive
    assert running.state == "PENDING"
    (stage.folder / "gate").touch()
    assert node.wait(within=10) == 0
    assert running.get(timeout=5) is False
    assert counts(tasks) == Counts(ready=100)
    assert [result.get(timeout=1) for result in before] == list(range(100))
    assert [result.state for result in behind] == ["PENDING"] * 100
    stage.node("-c", "1")
    assert [result.get(timeout=10) for result in behind] == list(range(100))
    assert ended(stage) == 1


def cold_by_sigquit(node: Node) -> None:
    node.signal(signal.SIGQUIT)


def cold_by_a_second_interrupt(node: Node) -> None:
    node.signal(signal.SIGINT)
    node.expect("Warm shutdown")
    assert node.alive
    node.signal(signal.SIGINT)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
@pytest.mark.parametrize("stop", [cold_by_sigquit, cold_by_a_second_interrupt])
def test_cold_the_running_task_goes_back_without_a_strike(
    stage: Stage, tasks: ModuleType, stop: object, pool: str
) -> None:
    assert callable(stop)
    running = tasks.hold.delay(str(stage.folder))
    node = stage.node("-c", "1", "-P", pool)
    began(stage)
    waiting = tasks.quick.delay(7)
    stop(node)
    assert node.wait(within=10) == 0
    node.assert_gone(within=2)
    assert ended(stage) == 0
    assert counts(tasks) == Counts(ready=2)
    (stage.folder / "gate").touch()
    stage.node("-c", "1", "-P", pool)
    assert running.get(timeout=10) is False
    assert waiting.get(timeout=10) == 7
    assert ended(stage) == 1


def test_ctrl_c_in_the_terminal_reaches_all_and_is_warm(stage: Stage, tasks: ModuleType) -> None:
    running = tasks.hold.delay(str(stage.folder))
    node = stage.node("-c", "2")
    began(stage)
    node.signal_tree(signal.SIGINT)
    node.expect("Warm shutdown")
    (stage.folder / "gate").touch()
    assert node.wait(within=10) == 0
    assert running.get(timeout=5) is False
    assert counts(tasks) == Counts()


def test_after_its_grace_a_running_task_goes_back(stage: Stage, tasks: ModuleType) -> None:
    running = tasks.hold.delay(str(stage.folder))
    node = stage.node("-c", "1", env={"GRACE": "0.3"})
    began(stage)
    node.signal(signal.SIGTERM)
    assert node.wait(within=10) == 0
    assert counts(tasks) == Counts(ready=1)
    assert (ended(stage), running.state) == (0, "PENDING")


@pytest.mark.parametrize("pool", ["solo"])
def test_warm_in_one_process(stage: Stage, tasks: ModuleType, pool: str) -> None:
    running = tasks.hold.delay(str(stage.folder))
    node = stage.node("-P", pool)
    began(stage)
    waiting = tasks.quick.delay(1)
    node.signal(signal.SIGTERM)
    (stage.folder / "gate").touch()
    assert node.wait(within=10) == 0
    assert running.get(timeout=5) is False
    assert counts(tasks) == Counts(ready=1)
    assert waiting.state == "PENDING"


def test_a_service_manager_that_ends_every_process_blames_no_task(stage: Stage, tasks: ModuleType) -> None:
    """systemd sends SIGTERM to the whole control group: what runs has its grace all the same."""
    running = tasks.hold.delay(str(stage.folder))
    node = stage.node("-c", "1")
    began(stage)
    node.signal_tree(signal.SIGTERM)
    node.expect("Warm shutdown")
    (stage.folder / "gate").touch()
    assert node.wait(within=10) == 0
    assert running.get(timeout=5) is False
    assert counts(tasks) == Counts()
