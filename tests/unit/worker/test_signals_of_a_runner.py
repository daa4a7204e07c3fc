"""What a runner's process tells beside its tasks: follow-ups that were published, its own beginning and end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery, signals
from celeriac.worker import lifecycle
from celeriac.worker.lines import Line
from celeriac.worker.loaded import Loaded, plan_of
from celeriac.worker.options import WorkerOptions
from celeriac.worker.runner.start import make_runner
from celeriac.worker.supervisor.board import Board


@pytest.fixture
def app() -> Iterator[Celery]:
    url = f"memory://{uuid4()}"
    with Celery("told", broker=url, backend=url, set_as_current=False) as app:
        yield app


@pytest.fixture
def drain(app: Celery) -> Iterator[Callable[[], None]]:
    """Runs what is queued, in this process."""
    board, options = Board(), WorkerOptions()
    board.allow(0, float("inf"))
    line, runner_line = Line.pair()
    app.broker.enlist("told:1-a/0.1", ["celery"])

    def run() -> None:
        make_runner(
            Loaded(app, plan_of(app, options), options, "n@here"), runner_line, board, 0, "told:1-a/0.1"
        ).drain()

    yield run
    line.close()
    runner_line.close()
    board.close()


def test_follow_ups_are_told_once_the_broker_has_them(app: Celery, drain: Callable[[], None]) -> None:
    heard: list[tuple[str, str, int, Any]] = []

    @app.task(name="told.again", bind=True, max_retries=1)
    def again(self: Any) -> None:
        raise self.retry(countdown=0)

    @app.task(name="told.link")
    def link(value: int) -> None: ...

    @app.task(name="told.one")
    def one() -> int:
        return 1

    again.delay()
    one.apply_async(link=link.s())

    def before(sender: str, headers: dict[str, Any], **named: Any) -> None:
        headers["marked"] = True
        heard.append(("before", sender, headers["retries"], None))

    def after(sender: str, headers: dict[str, Any], body: Any, **named: Any) -> None:
        assert headers["marked"]
        # Handed over together with the acknowledgement: the broker has one message less, and these more.
        heard.append(("after", sender, headers["retries"], body[0]))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    drain()

    assert sorted(heard, key=str) == sorted(
        [
            ("before", "told.again", 1, None),
            ("after", "told.again", 1, []),
            ("before", "told.link", 0, None),
            ("after", "told.link", 0, [1]),
        ],
        key=str,
    )


def test_what_cannot_be_settled_is_an_internal_error(
    app: Celery, drain: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[dict[str, Any]] = []

    @app.task(name="told.odd")
    def odd() -> None: ...

    def broken(request: Any, value: Any, children: Any) -> None:
        raise RuntimeError("beneath")

    def listen(**named: Any) -> None:
        heard.append(named)

    result = odd.delay()
    signals.task_internal_error.connect(listen)
    monkeypatch.setattr("celeriac.execution.records.Records.success", broken)
    monkeypatch.setattr("celeriac.execution.records.Records.failure", broken)
    drain()

    (named,) = heard
    assert (named["sender"], named["task_id"]) == (app.tasks["told.odd"], result.id)
    assert {"args", "kwargs", "request", "exception", "traceback", "einfo"} <= named.keys()


def in_a_child(call: Callable[[], Any]) -> int:
    """Its exit code; 0 where it returns."""
    pid = os.fork()
    if pid == 0:
        call()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("patience", [0.05, 5.0])
def test_a_beginning_that_never_ends_ends_the_process(app: Celery, patience: float) -> None:
    def slow(**named: Any) -> None:
        time.sleep(0.3)

    app.conf.worker_proc_alive_timeout = patience
    signals.worker_process_init.connect(slow)
    try:
        code = in_a_child(lambda: lifecycle.process_begins("n@here", app.conf))
    finally:
        signals.worker_process_init.disconnect(slow)

    assert code == (lifecycle.EX_HOPELESS if patience < 0.3 else 0)


def test_an_end_that_hangs_keeps_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(**named: Any) -> None:
        time.sleep(60)

    monkeypatch.setattr(lifecycle, "FAREWELL", 0.05)
    signals.worker_process_shutdown.connect(hang)
    try:
        code = in_a_child(lambda: lifecycle.process_ends("n@here", 75))
    finally:
        signals.worker_process_shutdown.disconnect(hang)

    assert code == 75
