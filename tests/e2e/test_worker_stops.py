"""A worker ends whatever its tasks do: soft, cold, hard shutdown, bodies that refuse signals, a template that hangs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.brokers.base import Counts
from tests.e2e.stage import Stage
from tests.faults.nodes import parent_of
from tests.processes import Node, until

TASKS = """
    import os, signal, time
    from celeriac import Celery

    app = Celery("tasks", broker="sqlite:///@folder@/queue.db", backend="sqlite:///@folder@/queue.db")
    app.conf.worker_soft_shutdown_timeout = float(os.environ.get("SOFT", 0))
    app.conf.worker_enable_soft_shutdown_on_idle = os.environ.get("SOFT_ON_IDLE") == "1"

    @app.task
    def hold(deaf=False):
        if deaf:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        open("@folder@/began", "a").write("x")
        while not os.path.exists("@folder@/gate"):
            time.sleep(0.01)
        open("@folder@/ended", "a").write("x")
        return "held"
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, folder=tmp_path)
    yield stage
    (tmp_path / "gate").touch()
    stage.show()
    stage.close()


def busy(stage: Stage, *, deaf: bool = False, **env: str) -> Node:
    """A node of one slot that runs the task."""
    stage.client().hold.delay(deaf)
    node = stage.node("-c", "1", env=env)
    until((stage.folder / "began").exists, what="the task runs")
    return node


def counts(stage: Stage) -> Counts:
    found: Counts = stage.client().app.broker.count(["celery"])["celery"]
    return found


def test_soft_what_ends_in_time_is_finished(stage: Stage) -> None:
    node = busy(stage, SOFT="60")
    node.signal(signal.SIGQUIT)
    node.expect(r"Initiating Soft Shutdown, terminating in 60.0 seconds")
    (stage.folder / "gate").touch()
    assert node.wait(within=10) == 0
    assert (stage.folder / "ended").read_text() == "x"
    assert counts(stage) == Counts()


def test_soft_what_does_not_goes_back_unblamed(stage: Stage) -> None:
    node = busy(stage, SOFT="0.3", REMAP_SIGTERM="SIGQUIT")
    node.signal(signal.SIGTERM)
    node.expect(r"Initiating Soft Shutdown, terminating in 0.3 seconds")
    assert node.wait(within=10) == 0
    assert counts(stage) == Counts(ready=1)


def test_quit_again_while_soft_is_cold(stage: Stage) -> None:
    node = busy(stage, SOFT="60")
    node.signal(signal.SIGQUIT)
    node.expect("Initiating Soft Shutdown")
    node.signal(signal.SIGINT)
    node.expect("Waiting gracefully for cold shutdown to complete...")
    assert node.wait(within=10) == 0
    assert counts(stage) == Counts(ready=1)


def test_where_nothing_runs_it_is_not_soft_unless_asked(stage: Stage) -> None:
    node = stage.node("-c", "1", env={"SOFT": "60"})
    assert node.stop(within=10, how=signal.SIGQUIT) == 0
    node = stage.node("-c", "1", env={"SOFT": "0.2", "SOFT_ON_IDLE": "1"})
    assert node.stop(within=10, how=signal.SIGQUIT) == 0
    assert "Initiating Soft Shutdown, terminating in 0.2 seconds" in node.output()


def test_sigterm_twice_is_still_warm(stage: Stage) -> None:
    node = busy(stage)
    node.signal(signal.SIGTERM)
    node.expect("Warm shutdown")
    node.signal(signal.SIGTERM)
    node.expect("Warm shutdown", times=2)
    assert node.alive
    (stage.folder / "gate").touch()
    assert node.wait(within=10) == 0
    assert counts(stage) == Counts()


def test_asked_to_stop_while_the_app_is_loading(stage: Stage) -> None:
    stage.write("slow.py", "import time; open('loading', 'w').close(); time.sleep(60)")
    node = stage.node("--pidfile", "w.pid", app="slow", start=False)
    node.start(ready=False)
    until((stage.folder / "loading").exists, what="the app is loading")
    assert node.stop(within=5) == 0
    node.assert_gone()
    assert not (stage.folder / "w.pid").exists()


def test_a_body_that_blocks_every_signal_does_not_keep_the_node(stage: Stage) -> None:
    node = busy(stage, deaf=True)
    node.signal(signal.SIGQUIT)
    assert node.wait(within=10) == 0
    node.assert_gone()
    assert counts(stage) == Counts(ready=1)


def test_cold_ends_though_the_template_is_stopped_and_hard_at_once(stage: Stage) -> None:
    node = busy(stage)
    runner = next(pid for pid in node.children() if parent_of(pid) != node.pid)
    os.kill(parent_of(runner), signal.SIGSTOP)
    node.signal(signal.SIGQUIT)
    node.expect("Cold shutdown")
    node.expect("does not say that its runners have ended: it is killed", within=20)
    assert node.wait(within=10) == 0
    node.assert_gone()
    assert counts(stage) == Counts(ready=1)

    (stage.folder / "began").unlink()
    node = stage.node("-c", "1")
    until((stage.folder / "began").exists, what="it runs again")
    runner = next(pid for pid in node.children() if parent_of(pid) != node.pid)
    os.kill(parent_of(runner), signal.SIGSTOP)
    for text in ("Cold shutdown", "Hard shutdown"):
        node.signal(signal.SIGQUIT)
        node.expect(text)
    assert node.wait(within=5) == 1
    node.assert_gone()
