"""A runner of many lanes, driven from here: what would make it spin, stand still, or begin what is not its own."""

from __future__ import annotations

import select
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac import Celery
from celeriac.brokers.base import Settlement, Shelf, Verdict
from celeriac.worker.lines import Line
from celeriac.worker.loaded import Loaded, plan_of
from celeriac.worker.options import WorkerOptions
from celeriac.worker.runner import start
from celeriac.worker.supervisor.board import PENDING, Board
from celeriac.worker.supervisor.doorbell import Doorbell

CONSUMER = "n:1-a/0.1"
LANES = 3


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def ran() -> list[int]:
    return []


@pytest.fixture
def app(tmp_path: Path, gate: threading.Event, ran: list[int]) -> Iterator[Celery]:
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    with Celery("many", broker=url, backend=url, set_as_current=False) as app:
        app.task(name="brief")(ran.append)
        app.task(name="long")(lambda: gate.wait(60) and None)
        app.task(name="early", acks_late=False, time_limit=0.5)(lambda: [time.sleep(0.01) for _ in range(20)] and None)
        app.finalize()
        app.broker.enlist(CONSUMER, ["celery"])
        yield app


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board(1, LANES)
    board.allow(0, float("inf"))
    yield board
    board.close()


@pytest.fixture
def line() -> Iterator[tuple[Line, Line]]:
    here, there = Line.pair()
    yield here, there
    here.close()
    there.close()


@pytest.fixture
def serving(app: Celery, board: Board, line: tuple[Line, Line], gate: threading.Event) -> Iterator[Callable[[], None]]:
    """Starts the runner, one of two, and the node's doorbell."""
    options = WorkerOptions(pool="threads", concurrency=LANES, processes=2)
    loaded = Loaded(app, plan_of(app, options), options, "n@here")
    here, there = line
    doorbell = Doorbell(lambda: app.broker.waiter(["celery"]), lambda slot: here.say("wake"))

    def listen() -> None:
        while not here.closed:
            select.select([here], [], [])
            for word, _ in here.said():
                if word == "idle":
                    doorbell.idle(0)

    def serve() -> None:
        start._serve(loaded, there, board, 0, CONSUMER)
        there.sock.shutdown(socket.SHUT_RDWR)

    threads = [threading.Thread(target=serve), threading.Thread(target=listen), doorbell]
    yield lambda: [thread.start() for thread in threads] and None
    gate.set()
    here.say("stop")
    doorbell.stop()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def until(what: Callable[[], Any], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)


def shelve(app: Celery, shelf: Shelf = Shelf.SUSPECT) -> None:
    """What is queued was under a runner that died."""
    app.broker.enlist("n:2-b/0.1", ["celery"])
    consumer = app.broker.consumer("n:2-b/0.1", ["celery"])
    consumer.send([], 1)
    (delivery,) = consumer.receive().deliveries
    consumer.send([Settlement(delivery, Verdict.REQUEUE, shelf=shelf, strikes=1)], 0)
    consumer.receive()
    consumer.close()
    app.broker.dismiss("n:2-b/0.1", ["celery"])


def test_a_suspect_that_is_revoked_does_not_end_the_intake(
    app: Celery, serving: Callable[[], None], ran: list[int]
) -> None:
    suspect = app.tasks["brief"].delay(1)
    shelve(app)
    suspect.revoke()
    serving()
    until(lambda: suspect.state == "REVOKED")
    app.tasks["brief"].delay(2)
    until(lambda: ran == [2])


def test_a_suspect_that_waits_for_a_long_task_is_not_asked_for_without_a_pause(
    app: Celery,
    serving: Callable[[], None],
    board: Board,
    line: tuple[Line, Line],
    gate: threading.Event,
    ran: list[int],
) -> None:
    app.tasks["long"].delay()
    serving()
    until(lambda: board.runs(0))
    before = board.turns(0)
    line[0].say("pause", why="test")
    until(lambda: board.turns(0) > before)
    app.tasks["brief"].delay(2)
    shelve(app)
    line[0].say("unpause", why="test")
    app.tasks["brief"].delay(3)
    until(lambda: 3 in ran)
    before = board.turns(0)
    time.sleep(1.5)  # for a second it tries to become empty, and then goes on
    assert board.turns(0) - before < 50
    assert 2 not in ran
    gate.set()
    until(lambda: 2 in ran)


def test_words_that_come_while_one_runs_alone_on_its_node_are_read(
    app: Celery, serving: Callable[[], None], board: Board, line: tuple[Line, Line]
) -> None:
    app.tasks["long"].delay()
    shelve(app, Shelf.QUARANTINE)
    line[0].say("quiet")
    line[0].say("quarantine")
    serving()
    until(lambda: board.runs(0))
    line[0].say("pause", why="test")
    until(lambda: not line[1].readable())  # while it is there to be read, the runner cannot sleep
    assert board.runs(0)


def test_words_that_come_while_a_fenced_runner_waits_for_its_tasks_are_read(
    app: Celery, serving: Callable[[], None], board: Board, line: tuple[Line, Line], caplog: pytest.LogCaptureFixture
) -> None:
    app.tasks["long"].delay()
    serving()
    until(lambda: board.runs(0))
    app.broker.enlist("n:2-b/0.1", ["celery"])
    app.broker.recover(CONSUMER, ["celery"], "n:2-b/0.1")
    app.tasks["brief"].delay(1)
    until(lambda: "runs elsewhere now" in caplog.text)
    line[0].say("pause", why="test")
    until(lambda: not line[1].readable())
    assert board.runs(0)


def test_the_time_of_what_is_acknowledged_early_begins_when_it_does(
    app: Celery, serving: Callable[[], None], board: Board, tmp_path: Path
) -> None:
    board.allow(0, 0.0)  # it may reserve, and not begin
    result = app.tasks["early"].delay()
    serving()
    until(lambda: app.broker.count(["celery"])["celery"].in_flight)
    other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    board.allow(0, float("inf"))
    time.sleep(1.0)
    other.execute("ROLLBACK")
    other.close()
    assert result.get(timeout=20) is None


def test_one_that_is_never_told_what_went_back_gives_no_sign_of_life(
    app: Celery, serving: Callable[[], None], board: Board
) -> None:
    board.withdraw(0, 0, PENDING)
    app.tasks["brief"].delay(1)
    serving()
    until(lambda: app.broker.count(["celery"])["celery"].in_flight)
    time.sleep(0.2)
    before = board.turns(0)
    time.sleep(0.3)
    assert board.turns(0) == before  # so the watchdog ends it
