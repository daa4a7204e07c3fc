"""`acks_late=False`: once acknowledged a message is nowhere but in its runner's hands, so the runner must start it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celeriac import Celery
from celeriac.errors import OperationalError
from celeriac.worker.lines import Line
from celeriac.worker.loaded import Loaded, plan_of
from celeriac.worker.options import WorkerOptions
from celeriac.worker.runner.runner import Runner
from celeriac.worker.runner.start import make_runner
from celeriac.worker.supervisor.board import PENDING, Board

CONSUMER = "n:1-a/0.1"


@pytest.fixture
def ran() -> list[int]:
    return []


@pytest.fixture
def app(tmp_path: Path, ran: list[int]) -> Iterator[Celery]:
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    with Celery("early", broker=url, backend=url, set_as_current=False, publish_timeout=0.05) as app:
        app.task(name="early", acks_late=False)(ran.append)
        app.finalize()
        yield app


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    board.allow(0, float("inf"))
    yield board
    board.close()


@pytest.fixture
def runner(app: Celery, board: Board) -> Iterator[Runner]:
    options = WorkerOptions()
    app.broker.enlist(CONSUMER, ["celery"])
    line, runner_line = Line.pair()
    yield make_runner(Loaded(app, plan_of(app, options), options, "n@here"), runner_line, board, 0, CONSUMER)
    line.close()
    runner_line.close()


@pytest.fixture
def hold(app: Celery, runner: Runner) -> Callable[[], None]:
    """Lets the runner reserve a message, and not start it yet."""

    def hold() -> None:
        app.tasks["early"].delay(1)
        while not app.broker.count(["celery"])["celery"].in_flight or not runner._held:
            runner._turn()

    return hold


def test_a_late_answer_is_no_refusal(
    app: Celery, runner: Runner, hold: Callable[[], None], ran: list[int], tmp_path: Path
) -> None:
    hold()
    other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(OperationalError):
            runner._turn()
    other.execute("ROLLBACK")
    other.close()
    runner.drain()
    assert ran == [1]


def test_nothing_is_acknowledged_while_it_is_being_given_back(
    app: Celery, runner: Runner, board: Board, hold: Callable[[], None], ran: list[int]
) -> None:
    hold()
    board.withdraw(0, 0, PENDING)

    def give_back() -> None:
        board.withdraw(0, 0, app.broker.give_back(CONSUMER, ["celery"], 0))

    upkeep = threading.Timer(0.05, give_back)
    upkeep.start()
    runner._turn()
    upkeep.join()
    assert len(ran) + app.broker.count(["celery"])["celery"].ready == 1
