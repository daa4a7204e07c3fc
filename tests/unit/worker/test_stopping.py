"""The deadlines of a node that stops, on a clock of its own."""

from __future__ import annotations

import signal
from typing import Any, cast

import pytest

from celeriac.worker.lines import Line
from celeriac.worker.supervisor.board import Board
from celeriac.worker.supervisor.process import RunnerHandle
from celeriac.worker.supervisor.stopping import FAREWELL, IDLE_END, SILENCE, Leave, Stopping


class FakeCrew:
    """Two runners without processes, which end when the test says so."""

    def __init__(self) -> None:
        self.lines = [Line.pair() for _ in range(2)]
        self.runners = {n: RunnerHandle(slot=n, consumer=f"w/{n}", line=self.lines[n][0], since=0.0) for n in range(2)}
        self.unsettled: set[str] = set()
        self.last_end = 0.0
        self.cold = self.stopped = self.abandoned = False

    def stop(self) -> None:
        self.stopped = True

    def kill(self, why: str) -> None:
        self.cold = True
        for handle in self.runners.values():
            handle.kill(why)

    def abandon(self) -> None:
        self.abandoned = True

    def close(self) -> None:
        for pair in self.lines:
            for line in pair:
                line.close()


class Plan:
    grace: float | None = None
    soft_shutdown = 0.0
    soft_when_idle = False


class Stage:
    """A board on which runner 0 runs a task and runner 1 does not."""

    def __init__(self) -> None:
        self.now = 100.0
        self.crew = FakeCrew()
        self.board = Board(2)
        self.board.desk(0).start(7, 99.0)
        self.plan = Plan()
        self.told: list[Any] = []
        self.stopping = Stopping(
            crew=cast(Any, self.crew),
            board=self.board,
            plan=cast(Leave, self.plan),
            give_back_all=lambda: self.told.append("give back"),
            announce=lambda *stage: self.told.append(stage),
            clock=lambda: self.now,
        )

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds * 5)):
            self.now += 0.2
            self.stopping.tick(self.now)

    def killed(self) -> list[str]:
        return [handle.killed_for for handle in self.crew.runners.values()]

    def close(self) -> None:
        self.crew.close()
        self.board.close()


@pytest.fixture
def stage() -> Any:
    stage = Stage()
    yield stage
    stage.close()


def test_warm_waits_for_what_runs_and_for_nothing_else(stage: Stage) -> None:
    stage.stopping.signalled(signal.SIGTERM)
    assert stage.told == ["give back", ("SIGTERM", "Warm", 0)]
    stage.wait(IDLE_END - 1)
    assert stage.killed() == ["", ""]
    stage.wait(2)
    assert stage.killed() == ["", "it did not end"]
    stage.wait(10_000)
    assert not stage.crew.abandoned, "runner 0 runs a task, and would end with the template"
    assert not stage.stopping.finished(stage.now)


def test_a_runner_whose_end_nobody_reports_is_given_up(stage: Stage) -> None:
    stage.stopping.signalled(signal.SIGTERM)
    for handle in stage.crew.runners.values():
        handle.line.close()
    stage.wait(SILENCE + 1)
    assert stage.killed() == ["it did not end"] * 2, "it may close its files and live on"
    stage.wait(SILENCE + 1)
    assert stage.crew.abandoned


def test_the_broker_has_a_while_to_be_told(stage: Stage) -> None:
    stage.stopping.signalled(signal.SIGQUIT)
    assert stage.killed() == ["shutdown"] * 2
    stage.crew.runners.clear()
    stage.crew.unsettled, stage.crew.last_end = {"w/0"}, stage.now
    stage.wait(FAREWELL - 1)
    assert not stage.stopping.finished(stage.now)
    stage.wait(2)
    assert stage.stopping.finished(stage.now)


def test_after_its_grace_cold(stage: Stage) -> None:
    stage.plan.grace = 25.0
    stage.stopping.signalled(signal.SIGTERM)
    stage.wait(24)
    assert not stage.crew.cold
    stage.wait(2)
    assert stage.crew.cold
