"""New code under a running worker: by SIGHUP, by `--reload`; and what every thread is at, by SIGUSR1."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.processes import until

TASKS = """
    import os, time
    from celeriac import Celery

    app = Celery("tasks", broker="sqlite:///@folder@/queue.db", backend="sqlite:///@folder@/queue.db")
    @more@

    @app.task
    def version():
        return @version@

    @app.task
    def spin():
        open("@folder@/began", "a").write("x")
        while not os.path.exists("@folder@/gate"):
            pass
        return @version@
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    code(stage, 1)
    yield stage
    (tmp_path / "gate").touch()
    stage.show()
    stage.close()


def code(stage: Stage, version: object, more: str = "") -> None:
    stage.write("tasks.py", TASKS, folder=stage.folder, version=version, more=more)


def test_hang_up_brings_new_code_and_bad_code_changes_nothing(stage: Stage) -> None:
    node = stage.node("-c", "2")
    tasks = stage.client()
    long = tasks.spin.delay()
    until((stage.folder / "began").exists, what="a task runs")
    code(stage, 2)
    node.signal(signal.SIGHUP)
    node.expect("every runner has its new code, or a successor that has")
    assert {tasks.version.delay().get(timeout=10) for _ in range(5)} == {2}
    assert long.state == "PENDING"
    (stage.folder / "gate").touch()
    assert long.get(timeout=10) == 1, "what ran goes on with the code that it began with"

    code(stage, "(")
    node.signal(signal.SIGHUP)
    node.expect("the app cannot be loaded, what runs goes on")
    node.expect("SyntaxError")
    assert tasks.version.delay().get(timeout=10) == 2

    code(stage, 3, more='app.conf.task_default_queue = "other"')
    node.signal(signal.SIGHUP)
    node.expect("queues changed: that takes a restart of the node")
    assert tasks.version.delay().get(timeout=10) == 2

    code(stage, 4, more="os.register_at_fork(after_in_child=lambda: os._exit(9))")
    node.signal(signal.SIGHUP)
    node.expect("the runners of the new code die before they are ready: going back to the code before")
    assert [tasks.version.delay().get(timeout=10) for _ in range(3)] == [2, 2, 2]
    until(lambda: len(node.children()) == 3, what="one template and two runners are left")
    assert node.stop() == 0


def test_a_successor_that_waits_for_a_last_task_has_the_new_code_as_well(stage: Stage) -> None:
    node = stage.node("-c", "1", "--max-tasks-per-child", "1")
    tasks = stage.client()
    last = tasks.spin.delay()
    until((stage.folder / "began").exists, what="its only task runs")
    until(lambda: len(node.children()) == 3, what="the successor of the old code is there")
    time.sleep(0.5)
    code(stage, 2)
    node.signal(signal.SIGHUP)
    node.expect("every runner has its new code, or a successor that has")
    (stage.folder / "gate").touch()
    assert last.get(timeout=10) == 1
    assert tasks.version.delay().get(timeout=10) == 2


def test_a_change_of_the_source_reloads(stage: Stage) -> None:
    node = stage.node("-c", "1", "--reload")
    tasks = stage.client()
    assert tasks.version.delay().get(timeout=10) == 1
    code(stage, 2)
    node.expect(r"changed: tasks\.py")
    node.expect("every runner has its new code")
    assert tasks.version.delay().get(timeout=10) == 2
    code(stage, "(")
    node.expect("the app cannot be loaded, what runs goes on")
    assert tasks.version.delay().get(timeout=10) == 2
    code(stage, 3)
    node.expect("every runner has its new code", times=2)
    assert tasks.version.delay().get(timeout=10) == 3


def test_stacks_of_every_process_even_from_a_busy_loop(stage: Stage) -> None:
    node = stage.node("-c", "2")
    tasks = stage.client()
    began = stage.folder / "began"
    for _ in range(2):
        tasks.spin.delay()
    until(lambda: began.exists() and began.stat().st_size == 2, what="both runners are there and busy")
    node.signal(signal.SIGUSR1)
    node.expect(r"stacks of runner 1 \(process \d+\)")
    node.expect(r'tasks\.py", line \d+ in spin')
    for who in ("supervisor", "the template", "runner 0"):
        node.expect(rf"stacks of {who} \(process \d+\):\n.*[Tt]hread 0x")
    (stage.folder / "gate").touch()
    assert tasks.version.delay().get(timeout=10) == 1
