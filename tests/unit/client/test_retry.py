"""`self.retry` and automatic retries: what is raised, and the message that is put by for the settlement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac.client import current, retrying
from celeriac.client.app import Celery
from celeriac.client.request import Context
from celeriac.client.task import Task
from celeriac.errors import Ignore, MaxRetriesExceededError, Reject, Retry
from celeriac.foundation.backoff import exponential
from celeriac.wire import protocol2
from celeriac.wire.message import Message

Sent = Callable[..., list[Message]]
Delivered = Callable[[Message], Context]


@contextmanager
def running(task: Any, request: Context) -> Iterator[Context]:
    token = current.push(task, request)
    try:
        yield request
    finally:
        current.pop(token)


def request_of(**fields: Any) -> Context:
    base = {"id": "x", "args": (1,), "kwargs": {}, "called_directly": False, "root_id": "x"}
    return Context(**{**base, "delivery_info": {"exchange": "", "routing_key": "q", "priority": 0}, **fields})


def waits(message: Message) -> float:
    return (datetime.fromisoformat(message.headers["eta"]) - datetime.now(UTC)).total_seconds()


@pytest.fixture
def task(app: Celery) -> Any:
    @app.task(bind=True, name="proj.f")
    def f(self: Any, x: int, y: int = 0, **more: Any) -> None: ...

    return f


def test_the_new_message_keeps_what_the_old_one_carried(
    app: Celery, task: Any, sent: Sent, as_delivered: Delivered
) -> None:
    task.apply_async(
        (1,), {"y": 2}, task_id="x", queue="slow", priority=3, expires=600, time_limit=20, soft_time_limit=10,
        link=task.s(7), link_error=task.s(8), headers={"mine": "1"}, group_id="g", group_index=4, root_id="r",
        parent_id="p", shadow="s", ignore_result=True, stamped_headers=["stamp"], stamp="v", reply_to="me",
    )  # fmt: skip
    (old,) = sent("slow")
    with running(task, as_delivered(old)) as request, pytest.raises(Retry):
        task.retry(countdown=5)
    assert sent("slow") == [old], "nothing is published by the task itself"
    (outgoing,) = request.follow_ups
    new = outgoing.message
    changed = {name for name in old.headers if old.headers[name] != new.headers[name]}
    assert changed == {"retries", "eta"}
    assert new.headers["retries"] == 1
    assert protocol2.read_body(new) == protocol2.read_body(old)
    assert (outgoing.queue, outgoing.priority) == ("slow", 3)
    assert outgoing.due == pytest.approx(datetime.fromisoformat(new.headers["eta"]).timestamp())
    assert new.properties["reply_to"] == "me"


def test_a_root_task_does_not_become_its_own_child(app: Celery, task: Any, sent: Sent, as_delivered: Delivered) -> None:
    task.delay(1)
    with running(task, as_delivered(sent()[0])) as request, pytest.raises(Retry):
        task.retry()
    assert request.follow_ups[0].message.headers["parent_id"] is None


def test_wait_of_countdown_then_eta_then_backoff_then_default(task: Any) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=100)

    def wait(**how: Any) -> float:
        with running(task, request_of(retries=2)) as request, pytest.raises(Retry):
            task.retry(**how)
        return waits(request.follow_ups[0].message)

    assert wait() == pytest.approx(180, abs=5)
    assert wait(countdown=7) == pytest.approx(7, abs=5)
    assert wait(eta=eta) == pytest.approx(100, abs=5)
    task.retry_backoff, task.retry_jitter = 10, False
    assert wait() == pytest.approx(40, abs=5)
    assert wait(countdown=7) == pytest.approx(7, abs=5)


def test_countdown_zero_means_at_once(task: Any) -> None:
    with running(task, request_of()) as request, pytest.raises(Retry) as raised:
        task.retry(countdown=0)
    assert request.follow_ups[0].message.headers["eta"] is None
    assert raised.value.when == 0


def test_without_throw_the_retry_is_returned_and_still_sent(task: Any) -> None:
    with running(task, request_of()) as request:
        outcome = task.retry(throw=False, countdown=3)
    assert isinstance(outcome, Retry)
    assert outcome.sig.options["retries"] == 1
    assert len(request.follow_ups) == 1


def test_past_the_limit_the_given_error_is_raised_or_max_retries_exceeded(task: Any) -> None:
    error = ValueError("mine")
    with running(task, request_of(retries=3)) as request:
        with pytest.raises(ValueError, match="mine"):
            task.retry(exc=error)
        with pytest.raises(
            MaxRetriesExceededError, match=r"Can't retry proj\.f\[x\] args:\(1,\) kwargs:\{\}"
        ) as raised:
            task.retry()
        assert raised.value.task_args == (1,)
        with pytest.raises(Retry):
            task.retry(max_retries=4)
        task.max_retries = None
        with pytest.raises(Retry):
            task.retry()
    assert len(request.follow_ups) == 2


def test_the_error_being_handled_becomes_the_cause(task: Any) -> None:
    with running(task, request_of(retries=3)):
        try:
            raise KeyError("first")
        except KeyError as error:
            first = error
            with pytest.raises(ValueError, match="second") as raised:
                task.retry(exc=ValueError("second"))
    assert raised.value.__cause__ is first


def test_called_directly_the_error_itself_is_raised(task: Any) -> None:
    with pytest.raises(ValueError, match="mine"):
        task.retry(exc=ValueError("mine"))
    with pytest.raises(Retry, match="Task can be retried"):
        task.retry()


def test_eager_nothing_is_put_by(task: Any) -> None:
    with running(task, request_of(is_eager=True)) as request, pytest.raises(Retry) as raised:
        task.retry(countdown=9)
    assert raised.value.is_eager
    assert request._follow_ups is None


def test_a_message_that_cannot_be_made_sets_the_delivery_aside(task: Any) -> None:
    with running(task, request_of()), pytest.raises(Reject):
        task.retry(args=(object(),))


def test_other_arguments_and_queue(task: Any) -> None:
    with running(task, request_of(args=(1, 2), kwargs={"z": 3})) as request:
        for how in ({"args": (9,)}, {"kwargs": {"y": 8}}, {"args": (5,), "kwargs": {}}, {"queue": "other"}):
            with pytest.raises(Retry):
                task.retry(**how)
    calls = [protocol2.read_body(o.message)[:2] for o in request.follow_ups]
    assert calls == [([9], {"z": 3}), ([1, 8], {}), ([5], {}), ([1, 2], {"z": 3})]
    assert [o.queue for o in request.follow_ups] == ["q", "q", "q", "other"]


# -- automatic -------------------------------------------------------------------------------------------------------


def judged(task: Any, error: BaseException, **fields: Any) -> BaseException:
    with running(task, request_of(**fields)):
        try:
            raise error
        except BaseException as raised:
            try:
                task.autoretry(raised)
            except BaseException as outcome:
                return outcome
    raise AssertionError("autoretry returned")


def test_only_what_autoretry_for_names_is_retried(task: Any) -> None:
    task.autoretry_for = (OSError,)
    task.dont_autoretry_for = (FileNotFoundError,)
    for error in (ValueError("x"), FileNotFoundError("x"), Ignore(), Reject("x"), Retry("x")):
        assert judged(task, error) is error
    outcome = judged(task, ConnectionError("x"))
    assert isinstance(outcome, Retry)
    assert isinstance(outcome.exc, ConnectionError)


def test_retry_kwargs_and_backoff(task: Any) -> None:
    task.autoretry_for, task.retry_kwargs = (Exception,), {"countdown": 11, "max_retries": 5}
    outcome = judged(task, ValueError("x"), retries=4)
    assert isinstance(outcome, Retry)
    assert outcome.when == 11
    assert isinstance(judged(task, ValueError("x"), retries=5), ValueError)
    task.retry_backoff, task.retry_backoff_max, task.retry_jitter = True, 7, False
    outcome = judged(task, ValueError("x"), retries=2)
    assert isinstance(outcome, Retry)
    assert outcome.when == 4
    outcome = judged(task, ValueError("x"), retries=4)
    assert isinstance(outcome, Retry)
    assert outcome.when == 7


def test_a_limit_given_in_the_body_holds_for_the_automatic_retry_behind_it(task: Any) -> None:
    task.autoretry_for = (ValueError,)
    error = ValueError("x")
    with running(task, request_of(retries=1)):
        with pytest.raises(ValueError, match="x"):
            task.retry(exc=error, max_retries=1)
        with pytest.raises(ValueError, match="x"):
            retrying.autoretry(task, error)


@pytest.mark.parametrize(
    ("factor", "retries", "maximum", "wait"), [(1, 0, 600, 1), (3, 4, 600, 48), (1, 5000, 600, 600)]
)
def test_exponential(factor: int, retries: int, maximum: int, wait: int) -> None:
    assert exponential(factor, retries, maximum) == wait
    assert 0 <= exponential(factor, retries, maximum, True) <= wait


def test_hooks_and_run_are_for_subclasses(app: Celery) -> None:
    class Own(Task[..., Any]):
        name = "own"

        def run(self, x: int) -> int:
            return x + 1

    task = app.register_task(Own())
    assert task(1) == 2
    assert task.app is app
