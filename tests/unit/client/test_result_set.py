"""Many results as one: states, waiting, callbacks; and the tree of results."""

from __future__ import annotations

import io
import pickle
import threading
from collections.abc import Callable
from typing import Any

import celery.result
import pytest

from celeriac import states
from celeriac.client.app import Celery
from celeriac.client.eager_result import EagerResult
from celeriac.client.result import AsyncResult, denied_join_result, result_from_tuple
from celeriac.client.result_set import GroupResult, ResultSet
from celeriac.errors import IncompleteStream, TimeoutError
from celeriac.wire import outcome
from celeriac.wire.message import Record
from tests.processes import until

SOON = 20.0
Store = Callable[..., None]


@pytest.fixture
def store(app: Celery) -> Store:
    def put(task_id: str, state: str = "SUCCESS", result: Any = None, **fields: Any) -> None:
        document = outcome.document(task_id, state, result, **fields)
        app.backend.put_many([Record(task_id, document, final=state in states.READY_STATES)])

    return put


@pytest.fixture
def abc(app: Celery) -> GroupResult:
    return app.GroupResult("g", [app.AsyncResult(name) for name in "abc"])


@pytest.mark.parametrize("name", ["ResultSet", "GroupResult"])
def test_the_names_that_celerys_have(name: str) -> None:
    theirs = {one for one in dir(getattr(celery.result, name)) if not one.startswith("_")}
    mine = {"ResultSet": ResultSet, "GroupResult": GroupResult}[name]
    assert theirs - {"results", "id"} <= set(dir(mine))  # those are of instances


def test_states(abc: GroupResult, store: Store) -> None:
    assert (abc.waiting(), abc.ready(), abc.completed_count()) == (True, False, 0)
    store("a", result=1)
    store("b", "STARTED", {})
    assert (abc.waiting(), abc.ready(), abc.successful(), abc.failed(), abc.completed_count()) == (
        True, False, False, False, 1,
    )  # fmt: skip
    store("b", "FAILURE", ValueError("no"))
    store("c", result=3)
    assert (abc.ready(), abc.successful(), abc.failed(), abc.completed_count()) == (True, False, True, 2)
    with pytest.raises(ValueError, match="no"):
        abc.maybe_throw()
    with pytest.raises(ValueError, match="no"):
        abc.get(timeout=SOON)
    values = abc.get(timeout=SOON, propagate=False)
    assert (values[0], str(values[1]), values[2]) == (1, "no", 3)


def test_values_come_in_order_and_are_told_as_they_come(abc: GroupResult, store: Store) -> None:
    arrived: list[Any] = []
    thread = threading.Thread(target=lambda: abc.join(callback=lambda *told: arrived.append(told)), daemon=True)
    thread.start()
    for number, name in enumerate("cab"):
        store(name, result=number)
        until(lambda count=number + 1: len(arrived) == count, what=f"{name} is told")  # type: ignore[misc]
    thread.join(SOON)
    assert arrived == [("c", 0), ("a", 1), ("b", 2)]
    assert abc.get(timeout=SOON) == abc.join_native() == abc.join(timeout=1) == [1, 2, 0]
    assert [meta["result"] for _, meta in abc.iter_native()] == [1, 2, 0]


def test_a_failure_is_raised_before_the_others_have_ended(abc: GroupResult, store: Store) -> None:
    store("c", "FAILURE", KeyError("c"))
    with pytest.raises(KeyError):
        abc.get(timeout=SOON)


def test_it_gives_up_in_time_and_looks_once_with_no_time(abc: GroupResult, store: Store) -> None:
    store("a", result=1)
    with pytest.raises(TimeoutError):
        abc.get(timeout=0.05)
    store("b", result=2)
    store("c", result=3)
    assert abc.get(timeout=0) == [1, 2, 3]
    with denied_join_result(), pytest.raises(RuntimeError, match="Never call result"):
        abc.get()


def test_groups_in_groups_and_results_that_are_here(app: Celery, store: Store) -> None:
    inner = app.GroupResult("i", [app.AsyncResult("a"), app.AsyncResult("a")])
    both = app.ResultSet([EagerResult("e", 7, "SUCCESS"), inner])
    store("a", result=1)
    assert both.get(timeout=SOON) == [7, [1, 1]]
    assert app.ResultSet([]).get() == []
    assert app.ResultSet([]).ready()


def test_members(app: Celery) -> None:
    made = app.ResultSet([])
    made.add(app.AsyncResult("a"))
    made.update([app.AsyncResult("a"), app.AsyncResult("b")])
    assert [one.id for one in made] == ["a", "b"]
    made.discard("unknown")
    made.remove("a")
    with pytest.raises(KeyError):
        made.remove("a")
    made.clear()
    assert len(made) == 0


def test_then_is_called_once_when_all_have_ended(abc: GroupResult, store: Store) -> None:
    told: list[Any] = []
    assert abc.then(told.append) is abc
    for name in "ab":
        store(name)
    assert told == []
    store("c")
    until(lambda: told == [abc], what="the callback is called")
    errors: list[Any] = []
    store("d", "FAILURE", ValueError("d"))
    abc.add(abc.app.AsyncResult("d"))
    abc.then(told.append, errors.append)
    until(lambda: [str(one) for one in errors] == ["d"], what="the error is told")


def test_as_a_value(abc: GroupResult) -> None:
    abc.parent = AsyncResult("p", app=abc.app)
    assert abc.as_tuple() == (("g", (("p", None), None)), [((name, None), None) for name in "abc"])
    again = result_from_tuple(abc.as_tuple(), abc.app)
    assert again == abc == pickle.loads(pickle.dumps(abc))
    assert str(abc) == "g" == abc
    assert abc.as_list() == ["g", "p"]
    assert AsyncResult("x", parent=abc, app=abc.app).as_list() == ["x", "g", "p"]


def test_the_tree(app: Celery, store: Store) -> None:
    store(
        "root", result=1, children=[(("left", None), None), (("g", None), [(("a", None), None), (("b", None), None)])]
    )
    store("left", result=2)
    store("a", result=3)
    result = app.AsyncResult("root")
    with pytest.raises(IncompleteStream):
        list(result.iterdeps())
    store("b", result=4)
    assert [(node.id, value) for node, value in result.collect()] == [
        ("root", 1), ("left", 2), ("g", [3, 4]), ("a", 3), ("b", 4),
    ]  # fmt: skip
    assert result.get_leaf() == 4
    assert {node.id: [one.id for one in to] for node, to in result.graph.items() if to} == {
        "root": ["left", "g"], "g": ["a", "b"],
    }  # fmt: skip
    written = io.StringIO()
    result.graph.to_dot(written)
    assert written.getvalue().startswith("digraph dependencies {\n")
    assert '"g" -> "b"' in written.getvalue()


def test_many_members_are_one_subscription(app: Celery, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{number}" for number in range(3000)]
    for name in names:
        store(name, result=name)
    reads: list[int] = []
    get_many = app.backend.get_many
    monkeypatch.setattr(app.backend, "get_many", lambda ids: reads.append(len(ids)) or get_many(ids))
    group = app.GroupResult("g", [app.AsyncResult(name) for name in names])
    assert group.completed_count() == 3000
    assert reads == [3000]
    again = app.GroupResult("g", [app.AsyncResult(name) for name in names])
    assert again.get(timeout=SOON) == names
