"""`apply` and `task_always_eager`: the same task, run here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from celeriac.client import inline_hook
from celeriac.client.app import Celery
from celeriac.client.eager_result import EagerResult
from celeriac.client.request import Context
from celeriac.errors import EncodeError


@pytest.fixture
def eager(app: Celery) -> Celery:
    app.conf.task_always_eager = True
    return app


def test_apply_returns_what_the_task_returns_or_raises(app: Celery) -> None:
    @app.task
    def div(x: int, y: int) -> float:
        return x / y

    assert div.apply((6, 3)).get() == 2
    failed = div.apply((1, 0))
    assert failed.state == "FAILURE"
    with pytest.raises(ZeroDivisionError):
        failed.get()
    with pytest.raises(ZeroDivisionError):
        div.apply((1, 0), throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(ZeroDivisionError):
        div.apply((1, 0))


def test_the_request_of_an_eager_run(app: Celery) -> None:
    seen: list[Context] = []

    @app.task(bind=True, time_limit=9)
    def f(self: Any, x: int) -> None:
        seen.append(self.request)

    f.apply((1,), task_id="me", headers={"mine": 1}, priority=3)
    (request,) = seen
    assert (request.id, request.root_id, request.is_eager, request.called_directly) == ("me", "me", True, False)
    assert request.delivery_info == {"is_eager": True, "exchange": None, "routing_key": None, "priority": 3}
    assert request.timelimit == [9, None]


def test_retries_run_here(app: Celery) -> None:
    @app.task(bind=True, max_retries=5)
    def f(self: Any) -> int:
        if self.request.retries < 3:
            raise self.retry(countdown=100)
        return int(self.request.retries)

    assert f.apply().get() == 3


def test_always_eager_writes_and_reads_the_arguments(eager: Celery) -> None:
    seen: list[Any] = []

    @eager.task
    def f(*args: Any) -> int:
        seen.append(args)
        return 5

    result = f.delay((1, 2), {"a": (3,)})
    assert isinstance(result, EagerResult)
    assert result.get() == 5
    assert seen == [([1, 2], {"a": [3]})]
    with pytest.raises(EncodeError):
        f.delay(object())
    assert [r.get() for r in f.send_many([(1,), (2,)])] == [5, 5]


def test_an_eager_task_may_not_wait_for_another(eager: Celery) -> None:
    @eager.task
    def inner() -> int:
        return 1

    @eager.task
    def outer() -> Any:
        return inner.delay().get()

    with pytest.raises(RuntimeError, match="Never call result"):
        outer.delay().get()


def test_unknown_options_are_refused_here_too(eager: Celery) -> None:
    @eager.task
    def f() -> None: ...

    with pytest.raises(TypeError, match="countdwn"):
        f.apply_async(countdwn=3)


@pytest.fixture
def own_runner() -> Iterator[list[Any]]:
    calls: list[Any] = []

    def run(task: Any, request: Context, throw: bool) -> EagerResult[Any]:
        calls.append((task.name, request.args, throw))
        return EagerResult(request.id or "", 42, "SUCCESS")

    before, inline_hook.runner = inline_hook.runner, run
    yield calls
    inline_hook.runner = before


def test_the_runner_can_be_replaced(app: Celery, own_runner: list[Any]) -> None:
    @app.task(name="f")
    def f(x: int) -> None: ...

    assert f.apply((1,)).get() == 42
    assert own_runner == [("f", (1,), False)]
