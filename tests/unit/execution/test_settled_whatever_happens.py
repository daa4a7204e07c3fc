"""A run always ends in a settlement: an error beside the body would end the runner, and the next one runs it again, for
ever, since no death under the message is counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from celeriac import Celery
from celeriac.brokers.base import Delivery, Settlement, Verdict
from celeriac.client.request import Context
from celeriac.errors import Reject
from celeriac.execution.admission import Admitted
from celeriac.execution.records import Records
from celeriac.execution.settling import Settling
from celeriac.execution.tracer import Tracer
from celeriac.wire.outcome import read

Run = Callable[..., Settlement]


@pytest.fixture
def app() -> Celery:
    app = Celery("odd", broker="memory://", backend="memory://", set_as_current=False)
    app.conf.result_extended = True
    return app


@pytest.fixture
def run(app: Celery) -> Run:
    def run(task: Any, *args: Any, **headers: Any) -> Settlement:
        tracer = Tracer(Settling(app, Records(app, lambda: datetime.now(UTC))))
        request = Context(id="1", task=task.name, args=args, kwargs={}, **headers)
        settlement = tracer.trace(Admitted(Delivery("q", 1, b""), task, request, args, {}))
        assert settlement is not None
        return settlement

    return run


def failing() -> None:
    raise ValueError("of no use")


@pytest.mark.parametrize("throws", [ValueError, [ValueError], ("ValueError",)])
def test_throws_of_any_shape(app: Celery, run: Run, throws: Any) -> None:
    settlement = run(app.task(throws=throws)(failing))
    assert settlement.verdict is Verdict.DONE
    assert settlement.record is not None
    assert b"FAILURE" in settlement.record.document


@pytest.mark.parametrize(
    "errback", [{"task": "x", "args": [], "kwargs": {}, "options": {"of_no_such_name": 1}}, {"no": "task"}, "text"]
)
def test_errbacks_that_cannot_be_called(app: Celery, run: Run, errback: Any) -> None:
    settlement = run(app.task(failing), errbacks=[errback])
    assert settlement.verdict is Verdict.DONE
    assert settlement.record is not None
    assert b"of no use" in settlement.record.document


def test_an_outcome_that_cannot_be_written(app: Celery, run: Run) -> None:
    """Arguments that came by pickle, say, stand in extended results, which are JSON."""
    settlement = run(app.task(failing), object())
    assert (settlement.verdict, settlement.reason) == (Verdict.DEAD, "unsettled")
    assert settlement.record is not None
    assert b"FAILURE" in settlement.record.document


@pytest.mark.parametrize("acknowledged", [False, True])
def test_a_member_whose_outcome_cannot_be_written_is_counted(app: Celery, acknowledged: bool) -> None:
    """And the rest of its chain ends with it."""
    task = app.task(failing)
    tracer = Tracer(Settling(app, Records(app, lambda: datetime.now(UTC), counts=True)))
    body: dict[str, Any] = {"task": "total", "args": [], "kwargs": {}, "options": {"task_id": "body"}}
    after: dict[str, Any] = {"task": "next", "args": [], "kwargs": {}, "options": {"task_id": "2"}}
    request = Context(
        id="1", task=task.name, args=(object(),), kwargs={}, group="g", group_index=4, chord=body, chain=[after]
    )
    work = Admitted(Delivery("q", 1, b""), task, request, (object(),), {}, acknowledged=acknowledged)
    settlement = tracer.trace(work)
    assert settlement is not None
    assert settlement.verdict is (Verdict.DONE if acknowledged else Verdict.DEAD)
    assert [(member.group_id, member.task_id, member.index) for member in settlement.members] == [("g", "1", 4)]
    assert [record.task_id for record in settlement.also] == ["2"]


def test_a_rejected_message_is_a_dead_letter_and_a_failure(app: Celery, run: Run) -> None:
    """Nothing will run it again: `get()` must not wait for ever. Celery stores the same bytes."""

    @app.task
    def refuse(requeue: bool) -> None:
        raise Reject("not mine", requeue=requeue)

    errback = app.signature("elsewhere.errback")
    settlement = run(refuse, False, errbacks=[errback])
    assert (settlement.verdict, settlement.reason, settlement.detail) == (Verdict.DEAD, "rejected", "not mine")
    assert settlement.record is not None
    stored = read(settlement.record.document)
    assert stored.status == "FAILURE"
    assert stored.traceback is None
    assert stored.result == {
        "exc_type": "Reject",
        "exc_message": ["not mine", False],
        "exc_module": "celery.exceptions",
    }
    assert len(settlement.follow_ups) == 1

    again = run(refuse, True)
    assert (again.verdict, again.record) == (Verdict.REQUEUE, None)


class Unshowable:
    def __repr__(self) -> str:
        raise RecursionError("deeper and deeper")


def test_a_result_that_cannot_be_logged(app: Celery, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def body() -> None:
        raise KeyError(Unshowable())

    assert run(app.task(throws=(KeyError,))(body)).verdict is Verdict.DONE


@pytest.mark.parametrize(("seconds", "kept"), [(-1, None), (0, None), (5, 5)])
def test_a_time_to_live_below_nothing_is_none(app: Celery, run: Run, seconds: int, kept: int | None) -> None:
    app.conf.result_expires = seconds
    settlement = run(app.task(failing))
    assert settlement.record is not None
    assert settlement.record.expires == kept
