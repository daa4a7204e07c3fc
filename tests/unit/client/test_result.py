"""Results as users see them: documents of the backend, waiting, callbacks, refusals."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import celery.result
import pytest

from celeriac import states
from celeriac.client.app import Celery
from celeriac.client.eager_result import EagerResult
from celeriac.client.result import (
    AsyncResult,
    allow_join_result,
    denied_join_result,
    set_task_join_will_block,
)
from celeriac.errors import TaskRevokedError, TimeoutError
from celeriac.wire import outcome
from celeriac.wire.message import Record

SOON = 20.0

Store = Callable[..., None]


class Broken(Exception):
    """A user's own."""


@pytest.fixture
def store(app: Celery) -> Store:
    def put(task_id: str, state: str, result: Any, **fields: Any) -> None:
        document = outcome.document(task_id, state, result, date_done=datetime(2030, 1, 2, tzinfo=UTC), **fields)
        app.backend.put_many([Record(task_id, document, final=state in states.READY_STATES)])

    return put


def test_the_names_that_celerys_result_has() -> None:
    names = {name for name in dir(celery.result.AsyncResult) if not name.startswith("_")} - {"id"}  # of instances
    assert names <= set(dir(AsyncResult))


def test_unknown_is_pending(app: Celery) -> None:
    result = app.AsyncResult("x")
    assert (result.state, result.status, result.result, result.info) == ("PENDING", "PENDING", None, None)
    assert not result.ready()
    assert not result.exists()
    assert result.traceback is None


def test_success(app: Celery, store: Store) -> None:
    store("x", "SUCCESS", [1, {"a": 2}], children=[(("child", None), None)])
    result = app.AsyncResult("x")
    assert result.get(timeout=SOON) == [1, {"a": 2}]
    assert (result.successful(), result.failed(), result.ready()) == (True, False, True)
    assert result.children == [AsyncResult("child")]
    assert result.date_done == datetime(2030, 1, 2, tzinfo=UTC)


def test_failure_brings_the_users_exception_back(app: Celery, store: Store) -> None:
    store("x", "FAILURE", Broken("oh", 3), traceback="Traceback: …")
    result = app.AsyncResult("x")
    with pytest.raises(Broken) as raised:
        result.get(timeout=SOON)
    assert raised.value.args == ("oh", 3)
    error = result.get(timeout=SOON, propagate=False)
    assert isinstance(error, Broken)
    assert result.traceback == "Traceback: …"
    assert result.failed()


def test_extended_results(app: Celery, store: Store) -> None:
    extended = {"name": "n", "args": [1], "kwargs": {"k": 2}, "worker": "w", "retries": 3, "queue": "q"}
    store("x", "SUCCESS", 1, extended=extended)
    result = app.AsyncResult("x")
    assert {name: getattr(result, name) for name in extended} == extended


def test_states_on_the_way_do_not_stick(app: Celery, store: Store) -> None:
    result = app.AsyncResult("x")
    store("x", "PROGRESS", {"done": 1})
    assert (result.state, result.info) == ("PROGRESS", {"done": 1})
    store("x", "RETRY", Broken("again"))
    assert isinstance(result.info, Broken)
    store("x", "SUCCESS", 5)
    assert result.result == 5
    app.backend.forget(["x"])
    assert result.result == 5


def test_get_times_out_with_celerys_error(app: Celery) -> None:
    result = app.AsyncResult("x")
    for timeout in (0, 0.02):
        with pytest.raises(TimeoutError, match=r"The operation timed out\."):
            result.get(timeout=timeout)
    assert result.TimeoutError is TimeoutError


def test_get_wakes_by_push(app: Celery, store: Store) -> None:
    messages: list[dict[str, Any]] = []
    first = threading.Event()

    def on_message(meta: dict[str, Any]) -> None:
        messages.append(meta)
        first.set()

    def worker() -> None:
        store("x", "STARTED", {"pid": 1})
        assert first.wait(SOON)
        store("x", "SUCCESS", 7)

    thread = threading.Thread(target=worker)
    thread.start()
    seen: list[Any] = []
    callback = lambda task_id, value: seen.append((task_id, value))  # noqa: E731
    assert app.AsyncResult("x").get(timeout=SOON, on_message=on_message, callback=callback) == 7
    thread.join(SOON)
    assert [m["status"] for m in messages] == ["STARTED", "SUCCESS"]
    assert seen == [("x", 7)]


def test_on_interval_is_called(app: Celery, store: Store) -> None:
    calls: list[int] = []

    def on_interval() -> None:
        calls.append(1)
        if len(calls) == 2:
            store("x", "SUCCESS", 1)

    assert app.AsyncResult("x").get(timeout=SOON, interval=0.01, on_interval=on_interval) == 1


def test_an_error_of_a_parent_is_raised(app: Celery, store: Store) -> None:
    parent = app.AsyncResult("p")
    child = app.AsyncResult("c", parent=parent)
    assert child.as_list() == ["c", "p"]
    assert child.as_tuple() == (("c", (("p", None), None)), None)
    store("p", "FAILURE", Broken("first"))
    with pytest.raises(Broken):
        child.get(timeout=SOON)


def test_ignored_is_none_at_once(app: Celery) -> None:
    result = app.AsyncResult("x")
    result.ignored = True
    assert result.get() is None


def test_forget(app: Celery, store: Store) -> None:
    store("x", "SUCCESS", 1)
    result = app.AsyncResult("x")
    assert result.get(timeout=SOON) == 1
    result.forget()
    assert result.state == "PENDING"


def test_waiting_inside_a_task_is_refused_with_celerys_text(app: Celery, store: Store) -> None:
    store("x", "SUCCESS", 1)
    result = app.AsyncResult("x")
    with denied_join_result():
        with pytest.raises(RuntimeError) as raised:
            result.get(timeout=SOON)
        assert str(raised.value) == celery.result.E_WOULDBLOCK
        assert result.get(timeout=SOON, disable_sync_subtasks=False) == 1
        with allow_join_result():
            assert result.get(timeout=SOON) == 1
    set_task_join_will_block(True)
    try:
        with pytest.raises(RuntimeError):
            result.get(timeout=SOON)
    finally:
        set_task_join_will_block(False)


def test_then_fires_by_itself(app: Celery, store: Store) -> None:
    done = threading.Semaphore(0)
    seen: list[Any] = []

    def note(value: Any) -> None:
        seen.append(value)
        done.release()

    good, bad, bare = (app.AsyncResult(name) for name in ("good", "bad", "bare"))
    assert good.then(note, on_error=note) is good
    bad.then(note, on_error=note)
    bare.then(note)
    store("good", "SUCCESS", 1)
    assert done.acquire(timeout=SOON)
    store("bad", "FAILURE", Broken("oh"))
    assert done.acquire(timeout=SOON)
    store("bare", "FAILURE", Broken("oh"))
    assert done.acquire(timeout=SOON)
    assert seen[0] is good
    assert isinstance(seen[1], Broken)
    assert seen[2] is bare


def test_then_survives_a_callback_that_raises(app: Celery, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    store("a", "SUCCESS", 1)
    store("b", "SUCCESS", 1)

    def fail(result: Any) -> None:
        raise ValueError("mine")

    app.AsyncResult("a").then(fail)
    app.AsyncResult("b").then(lambda result: done.set())
    assert done.wait(SOON)
    assert "A callback for the result of a raised" in caplog.text


def test_as_a_value(app: Celery) -> None:
    app.set_default()
    result = app.AsyncResult("x")
    assert result == "x"
    assert result == AsyncResult("x", app=app)
    assert result != AsyncResult("y", app=app)
    assert (str(result), repr(result), hash(result)) == ("x", "<AsyncResult: x>", hash("x"))
    assert copy.copy(result) == result
    assert pickle.loads(pickle.dumps(AsyncResult("x"))) == "x"
    with pytest.raises(ValueError, match="requires valid id"):
        AsyncResult(None)  # type: ignore[arg-type]


# -- eager -----------------------------------------------------------------------------------------------------------


def test_eager_results_are_celerys() -> None:
    for args in (("x", 5, "SUCCESS"), ("x", Broken("oh"), "FAILURE", "tb", "n"), ("x", None, "IGNORED")):
        ours, theirs = EagerResult(*args), celery.result.EagerResult(*args)
        for name in ("id", "state", "status", "result", "traceback"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.get(propagate=False) == theirs.get(propagate=False)
        assert repr(ours) == repr(theirs)
        assert copy.copy(ours).result == ours.result
    with pytest.raises(Broken):
        EagerResult("x", Broken("oh"), "FAILURE").get()


def test_an_eager_result_may_be_revoked() -> None:
    result: EagerResult[int] = EagerResult("x", 5, "SUCCESS")
    result.revoke()
    with pytest.raises(TaskRevokedError):
        result.get()


def test_then_of_an_eager_result_is_called_at_once() -> None:
    seen: list[Any] = []
    result: EagerResult[int] = EagerResult("x", 5, "SUCCESS")
    result.then(seen.append)
    assert seen == [result]
