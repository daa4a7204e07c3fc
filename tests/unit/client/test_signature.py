"""Single signatures, compared with Celery's."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import celery
import pytest

from celeriac.client.app import Celery
from celeriac.client.canvas.signature import Signature, maybe_signature, signature
from celeriac.errors import NotRegistered
from celeriac.wire import protocol2
from celeriac.wire.message import Message


@pytest.fixture
def add(app: Celery) -> Any:
    @app.task(name="proj.add")
    def add(*args: int, **kwargs: int) -> int:
        return sum(args) + sum(kwargs.values())

    return add


def test_it_is_the_dict_that_celery_writes(add: Any) -> None:
    theirs = celery.Celery("proj", set_as_current=False).signature("proj.add", (1, 2), {"z": 3}, countdown=5)
    ours = add.signature((1, 2), {"z": 3}, countdown=5)
    assert dict(ours) == dict(theirs)
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(dict(theirs)))
    assert repr(ours) == repr(theirs)


def test_partial_arguments_go_first(add: Any, sent: Callable[..., list[Message]]) -> None:
    add.s(2, z=1).apply_async((1,), {"y": 5}, queue="q")
    add.si(2).delay(1)
    assert protocol2.read_body(sent("q")[0])[:2] == ([1, 2], {"z": 1, "y": 5})
    assert protocol2.read_body(sent()[0])[:2] == ([2], {})


def test_its_options_count_and_those_of_the_call_win(add: Any, sent: Callable[..., list[Message]]) -> None:
    call = add.s(1).set(queue="slow", priority=1)
    call.apply_async()
    call.apply_async(priority=9)
    assert sorted(m.properties["priority"] for m in sent("slow")) == [1, 9]
    assert call.options == {"queue": "slow", "priority": 1}


def test_a_task_that_is_not_known_here_can_be_sent_and_not_run(app: Celery, sent: Callable[..., list[Message]]) -> None:
    call = Signature("elsewhere.f", (1,), app=app)
    call.delay()
    assert sent()[0].headers["task"] == "elsewhere.f"
    with pytest.raises(NotRegistered):
        call()


def test_clones_are_independent(add: Any) -> None:
    one = add.s(1, k=2).set(queue="q")
    two = one.clone((0,), {"j": 3}, priority=4)
    two.kwargs["k"] = 9
    two.options["queue"] = "other"
    assert (one.args, one.kwargs, one.options) == ((1,), {"k": 2}, {"queue": "q"})
    assert two.args == (0, 1)
    assert two.options["priority"] == 4
    assert one.replace(args=(7,)).args == (7,)


def test_links(add: Any) -> None:
    one, callback, errback = add.s(1), add.s(), add.si(0)
    assert one.link(callback) is callback
    one.link(callback)
    assert one.on_error(errback) is one
    assert one.options == {"link": [callback], "link_error": [errback]}


def test_called_it_is_the_function(add: Any) -> None:
    assert add.s(1)(2, z=3) == 6


def test_from_a_mapping_and_back(app: Celery, add: Any) -> None:
    app.set_default()
    call = add.s(1)
    again = maybe_signature(json.loads(json.dumps(call)), app=app)
    assert isinstance(again, Signature)
    assert again.type is add
    assert maybe_signature(5) == 5
    assert signature(call) == call
    assert signature(call) is not call
    assert pickle.loads(pickle.dumps(call)) == call
    assert copy.deepcopy(call) == call


def test_a_kind_that_nobody_knows_is_refused(app: Celery) -> None:
    with pytest.raises(KeyError, match="riddle"):
        maybe_signature({"task": "celery.riddle", "subtask_type": "riddle"}, app=app)


def test_fixed_options_stay(add: Any) -> None:
    assert add.s().set(group_id="g").clone(group_id="other").options["group_id"] == "g"
