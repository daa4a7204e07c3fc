"""`dead_letter=True`: a failure that is final is kept with its traceback, FAILURE is stored all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import Celery
from celeriac.brokers.base import Delivery, Settlement, Verdict
from celeriac.errors import Reject
from celeriac.execution.admission import Admission, Admitted
from celeriac.execution.records import Records
from celeriac.execution.settling import Settling
from celeriac.execution.tracer import Tracer
from celeriac.wire import envelope

Run = Callable[..., Settlement]


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    name = request.node.name
    app = Celery("dead", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def run(app: Celery) -> Run:
    """Run a task once, as a worker does."""
    records = Records(app, lambda: datetime.now(UTC), True)
    tracer = Tracer(Settling(app, records))

    def run(task: Any, retries: int = 0, **options: Any) -> Settlement:
        outgoing = app.publisher.prepare(task.name, (), {}, None)
        outgoing.message.headers["retries"] = retries
        payload = envelope.encode(outgoing.message, "celery", "tag")
        admission = Admission(app.tasks, frozenset({"application/json"}), records, "here")
        work = admission.admit(Delivery("celery", 1, payload), 0.0)
        assert isinstance(work, Admitted)
        settlement = tracer.trace(work)
        assert settlement is not None
        return settlement

    return run


def test_it_is_kept_with_its_traceback(app: Celery, run: Run) -> None:
    @app.task(dead_letter=True, dead_letter_requeue_after=600)
    def breaks() -> None:
        raise ValueError("no good \ud800")

    settlement = run(breaks)
    assert settlement.verdict is Verdict.DEAD
    assert (settlement.reason, settlement.detail) == ("failed", "ValueError: no good ?")
    assert "raise ValueError" in settlement.traceback
    assert settlement.task == breaks.name
    assert settlement.record is not None
    assert b"FAILURE" in settlement.record.document
    assert (settlement.again_after, settlement.again_most) == (600, 3)


def test_a_retry_is_not_final_and_the_last_one_is(app: Celery, run: Run) -> None:
    @app.task(dead_letter=True, autoretry_for=(ValueError,), max_retries=2, default_retry_delay=0)
    def flaky() -> None:
        raise ValueError

    first = run(flaky)
    assert first.verdict is Verdict.DONE
    assert len(first.follow_ups) == 1
    assert run(flaky, retries=2).verdict is Verdict.DEAD


def test_what_cannot_be_written_is_a_failure_like_others(app: Celery, run: Run) -> None:
    @app.task(dead_letter=True)
    def odd() -> object:
        return object()

    assert run(odd).reason == "failed"


def test_the_setting_is_for_all_and_a_task_may_say_no(app: Celery, run: Run) -> None:
    after = timedelta(minutes=1)
    app.conf.update(task_dead_letter=True, task_dead_letter_requeue_after=after, task_dead_letter_max_requeues=1)

    @app.task
    def breaks() -> None:
        raise ValueError

    @app.task(dead_letter=False)
    def spared() -> None:
        raise ValueError

    @app.task
    def refuses() -> None:
        raise Reject("why")

    kept = run(breaks)
    assert (kept.verdict, kept.again_after, kept.again_most) == (Verdict.DEAD, 60, 1)
    assert run(spared).verdict is Verdict.DONE
    refused = run(refuses)
    assert (refused.reason, refused.again_after) == ("rejected", 60)


def test_the_reason_of_a_rejection_is_bounded_and_a_text_that_every_store_takes(app: Celery, run: Run) -> None:
    @app.task
    def refuses() -> None:
        raise Reject("name \udce9" + "." * 100_000)

    detail = run(refuses).detail
    assert detail.encode()
    assert len(detail) <= 50_001


def test_by_default_failures_are_not_kept(app: Celery, run: Run) -> None:
    @app.task
    def breaks() -> None:
        raise ValueError

    assert run(breaks).verdict is Verdict.DONE
