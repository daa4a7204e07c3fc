"""Tasks and their calls, compared with Celery's where Celery has the same."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import celery
import pytest
from celery.worker.request import Request as StockRequest

from celeriac.client import current
from celeriac.client.app import Celery
from celeriac.client.request import Context
from celeriac.client.task import Task
from celeriac.errors import EncodeError, ImproperlyConfigured, NaiveEtaWarning, OperationalError
from celeriac.wire import protocol2
from celeriac.wire.message import Message

Sent = Callable[..., list[Message]]

#: Attributes that are data. The rest are methods, or Celery's own machinery.
_DATA = sorted(
    name
    for name, value in vars(celery.Task).items()
    if not name.startswith("_") and not callable(value) and not isinstance(value, (property, classmethod))
)


@pytest.mark.parametrize("name", [n for n in _DATA if n not in {"app", "request_stack", "from_config"}])
def test_defaults_are_celerys(name: str) -> None:
    if name == "backend":  # a property here
        return
    assert getattr(Task, name) == getattr(celery.Task, name)


def test_every_public_name_of_celerys_task_that_this_version_has() -> None:
    later = {
        "add_around",
        "add_to_chord",
        "annotate",
        "chunks",
        "map",
        "on_replace",
        "replace",
        "request_stack",
        "send_event",
        "starmap",
        "start_strategy",
    }
    names = {name for name in dir(celery.Task) if not name.startswith("_")}
    assert names - later <= set(dir(Task))


def test_settings_fill_what_the_task_leaves_open(app: Celery) -> None:
    app.conf.task_serializer = "pickle"
    app.conf.task_time_limit = 30

    @app.task(time_limit=10)
    def f() -> None: ...

    assert f.serializer == "pickle"
    assert f.time_limit == 10
    assert f.acks_on_failure is True


def test_unknown_decorator_options_become_attributes(app: Celery) -> None:
    @app.task(colour="red")
    def f() -> None: ...

    assert f.colour == "red"  # type: ignore[attr-defined]


def test_a_task_is_its_function_too(app: Celery) -> None:
    seen: list[Context] = []

    @app.task(bind=True)
    def add(self: Task[..., int], x: int, y: int) -> int:
        """Adds."""
        seen.append(self.request)
        return x + y

    assert add(2, y=3) == 5
    assert (seen[0].args, seen[0].kwargs, seen[0].called_directly) == ((2,), {"y": 3}, True)
    assert (add.__name__, add.__doc__, add.name) == ("add", "Adds.", f"{__name__}.add")
    assert current.running() is None


def test_repr_and_pickle(app: Celery) -> None:
    app.set_default()

    @app.task(name="proj.add")
    def add() -> None: ...

    assert repr(add) == f"<@task: proj.add of proj at {id(app):#x}>"
    assert pickle.loads(pickle.dumps(add)).name == "proj.add"


# -- arguments -------------------------------------------------------------------------------------------------------

_CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((1, 2, 3, 4), {"k": 1}),
    ((1, 2), {"k": 1, "z": 3}),
    ((1, 2), {"k": 1, "x": 3}),
]


@pytest.mark.parametrize("bind", [False, True])
@pytest.mark.parametrize(("args", "kwargs"), _CALLS)
def test_arguments_that_do_not_fit_are_refused_with_celerys_text(
    app: Celery, sent: Sent, bind: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    def unbound(x: int, y: int = 2, *, k: object) -> None: ...

    def bound(self: object, x: int, y: int = 2, *, k: object) -> None: ...

    function = bound if bind else unbound
    theirs = celery.Celery("theirs", set_as_current=False).task(function, bind=bind, lazy=False, shared=False)
    with pytest.raises(TypeError) as expected:
        theirs.apply_async(args, kwargs)
    with pytest.raises(TypeError) as raised:
        app.task(bind=bind)(function).apply_async(args, kwargs)
    assert str(raised.value) == str(expected.value)
    assert sent() == []


def test_arguments_are_not_checked_without_typing(app: Celery, sent: Sent) -> None:
    @app.task(typing=False)
    def f(x: int) -> None: ...

    f.apply_async((1, 2, 3))
    assert protocol2.read_body(sent()[0])[0] == [1, 2, 3]


def test_an_argument_that_cannot_be_written_is_named(app: Celery, sent: Sent) -> None:
    @app.task
    def f(*args: object) -> None: ...

    with pytest.raises(EncodeError, match=r"args\[1\]\['x'\]"):
        f.delay(1, {"x": object()})
    assert sent() == []


@pytest.mark.parametrize(("args", "kwargs"), [("ab", None), (None, [1])])
def test_args_and_kwargs_of_the_wrong_kind(app: Celery, args: Any, kwargs: Any) -> None:
    @app.task(typing=False)
    def f(*args: object) -> None: ...

    with pytest.raises(TypeError, match=r"task args must be a list or tuple|task keyword arguments must be a mapping"):
        f.apply_async(args, kwargs)


# -- messages --------------------------------------------------------------------------------------------------------


def test_the_message_has_celerys_headers(app: Celery, sent: Sent) -> None:
    @app.task(name="proj.add")
    def add(x: int, y: int) -> None: ...

    theirs = celery.Celery("proj", set_as_current=False)
    options = {"group_id": "g", "group_index": 2, "retries": 1, "shadow": "s", "root_id": "r", "parent_id": "p"}
    expected = theirs.amqp.as_task_v2("id", "proj.add", (2, 2), {}, **options)
    add.apply_async((2, 2), task_id="id", **options)
    (message,) = sent()
    assert list(message.headers) == list(expected.headers)
    assert {k: v for k, v in message.headers.items() if k != "origin"} == {
        k: v for k, v in expected.headers.items() if k != "origin"
    }
    assert message.properties["correlation_id"] == "id"


def test_templates_are_shared_and_messages_are_not(app: Celery, sent: Sent) -> None:
    @app.task
    def f(x: int) -> None: ...

    one, two = f.delay(1), f.delay(2)
    first, second = sent()
    assert [first.headers["id"], second.headers["id"]] == [one.id, two.id]
    assert [first.headers["argsrepr"], second.headers["argsrepr"]] == ["(1,)", "(2,)"]
    assert first.headers["root_id"] == one.id


def test_ignore_result_is_read_at_each_call(app: Celery, sent: Sent) -> None:
    @app.task
    def f() -> None: ...

    f.delay()
    f.ignore_result = True
    assert f.delay().ignored
    assert f.apply_async(ignore_result=False).ignored is False
    assert [m.headers["ignore_result"] for m in sent()] == [False, True, False]


def test_queue_and_priority_of_task_and_call(app: Celery, sent: Sent) -> None:
    @app.task(queue="slow", priority=3)
    def f() -> None: ...

    f.delay()
    f.apply_async(queue="fast", priority=9)
    assert sent("slow")[0].properties["priority"] == 3
    assert sent("fast")[0].properties["priority"] == 9


def test_links_travel_as_celery_writes_them(app: Celery, sent: Sent) -> None:
    @app.task(name="proj.f")
    def f(x: int = 0) -> None: ...

    theirs = celery.Celery("proj", set_as_current=False)
    expected = [dict(theirs.signature("proj.f", args=(1,), options={"queue": "q"}))]
    f.apply_async(link=f.s(1).set(queue="q"), link_error=[{"task": "proj.e", "args": [], "kwargs": {}, "options": {}}])
    embed = protocol2.read_body(sent()[0])[2]
    assert [{**s, "args": tuple(s["args"])} for s in embed["callbacks"]] == expected
    assert embed["errbacks"] == [{"task": "proj.e", "args": [], "kwargs": {}, "options": {}}]


def test_calls_inside_a_task_are_its_children(app: Celery, sent: Sent) -> None:
    @app.task
    def inner() -> None: ...

    @app.task
    def outer() -> None: ...

    app.conf.task_inherit_parent_priority = True
    request = Context(id="me", root_id="root", called_directly=False, delivery_info={"priority": 5})
    token = current.push(outer, request)
    try:
        child = inner.delay()
        inner.apply_async(add_to_parent=False)
        inner.apply_async(priority=1)
    finally:
        current.pop(token)
    assert {(m.headers["root_id"], m.headers["parent_id"]) for m in sent()} == {("root", "me")}
    assert sorted(m.properties["priority"] for m in sent()) == [1, 5, 5]
    assert request.children[0] == child
    assert len(request.children) == 2


def test_shadow_name_is_asked(app: Celery, sent: Sent) -> None:
    class Shadowed(Task[..., Any]):
        def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
            return f"as {args[0]}"

    @app.task(base=Shadowed)
    def f(x: int) -> None: ...

    f.delay(7)
    assert sent()[0].headers["shadow"] == "as 7"


# -- times -----------------------------------------------------------------------------------------------------------


def test_countdown_is_an_instant_in_the_apps_zone(app: Celery, sent: Sent) -> None:
    app.conf.timezone = "Asia/Shanghai"

    @app.task
    def f() -> None: ...

    before = datetime.now(UTC)
    f.apply_async(countdown=10, expires=60)
    headers = sent()[0].headers
    eta, expires = (datetime.fromisoformat(headers[name]) for name in ("eta", "expires"))
    assert timedelta(seconds=10) <= eta - before < timedelta(seconds=15)
    assert timedelta(seconds=60) <= expires - before < timedelta(seconds=65)
    assert eta.utcoffset() == timedelta(hours=8)
    assert 55_000 < int(sent()[0].properties["expiration"]) <= 60_000


def test_an_aware_eta_travels_as_it_is(app: Celery, sent: Sent) -> None:
    @app.task
    def f() -> None: ...

    eta = datetime(2040, 1, 1, 12, tzinfo=UTC)
    f.apply_async(eta=eta)
    assert sent()[0].headers["eta"] == "2040-01-01T12:00:00+00:00"


def test_a_naive_eta_is_utc_as_in_celery_with_a_warning_that_names_both_instants(app: Celery, sent: Sent) -> None:
    app.conf.timezone = "Asia/Shanghai"

    @app.task
    def f() -> None: ...

    with pytest.warns(NaiveEtaWarning) as caught:
        f.apply_async(eta=datetime(2040, 1, 1, 12))
    assert sent()[0].headers["eta"] == "2040-01-01T12:00:00+00:00"
    text = str(caught[0].message)
    assert "2040-01-01T12:00:00+00:00" in text
    assert "2040-01-01T04:00:00+00:00" in text
    assert caught[0].filename == __file__


# -- many ------------------------------------------------------------------------------------------------------------


def test_send_many_takes_pairs_and_bare_tuples(app: Celery, sent: Sent) -> None:
    @app.task
    def add(x: int, y: int = 0) -> None: ...

    calls: list[Any] = [((1, 2), {}), ([3], {"y": 4}), ([5],), (6, 7), (8,)]
    results = add.send_many(iter(calls), queue="q", countdown=5)
    messages = sent("q")
    assert [m.headers["id"] for m in messages] == [r.id for r in results]
    assert [protocol2.read_body(m)[:2] for m in messages] == [
        ([1, 2], {}),
        ([3], {"y": 4}),
        ([5], {}),
        ([6, 7], {}),
        ([8], {}),
    ]
    assert len({m.headers["eta"] for m in messages}) == 1


def test_send_many_checks_everything_first(app: Celery, sent: Sent) -> None:
    @app.task
    def add(x: int, y: int) -> None: ...

    with pytest.raises(TypeError) as raised:
        add.send_many([(1, 2), (3,)])
    assert "call 1 of send_many" in raised.value.__notes__[0]
    with pytest.raises(EncodeError):
        add.send_many([(1, 2), (3, object())])
    with pytest.raises(TypeError, match="argument tuples"):
        add.send_many([(1, 2), "ab"])
    with pytest.raises(TypeError, match="no task_id"):
        add.send_many([(1, 2)], task_id="x")
    assert sent() == []


def test_send_many_of_none(app: Celery) -> None:
    @app.task
    def f() -> None: ...

    assert f.send_many([]) == []


def test_send_many_takes_as_few_round_trips_as_the_broker_allows(app: Celery) -> None:
    sizes: list[int] = []

    @app.task
    def f(n: int) -> None: ...

    publisher = app.publisher
    publisher._commit._send = lambda messages, _: sizes.append(len(messages))
    largest = app.broker.capabilities.largest_batch
    f.send_many((n,) for n in range(largest + 5))
    assert sizes == [largest, 5]


def test_send_many_tells_how_many_had_been_sent(app: Celery) -> None:
    trips: list[int] = []

    @app.task
    def f(n: int) -> None: ...

    def fail_second(messages: Any, deadline: float) -> None:
        trips.append(len(messages))
        if len(trips) == 2:
            raise OperationalError("gone")

    app.publisher._commit._send = fail_second
    with pytest.raises(OperationalError) as raised:
        f.send_many([(n,) for n in range(app.broker.capabilities.largest_batch + 1)])
    assert raised.value.__notes__ == ["1000 of 1001 messages had been sent before"]


# -- states ----------------------------------------------------------------------------------------------------------


def test_update_state_is_stored_at_once(app: Celery) -> None:
    @app.task(bind=True)
    def f(self: Task[..., Any]) -> None:
        self.update_state(state="PROGRESS", meta={"done": 3})

    f.push_request(id="x", called_directly=False)
    try:
        f.run()
    finally:
        f.pop_request()
    result = app.AsyncResult("x")
    assert (result.state, result.info) == ("PROGRESS", {"done": 3})
    with pytest.raises(TypeError, match="task_id"):
        f.update_state(state="PROGRESS")


def test_an_unsupported_option_is_refused_with_a_text(app: Celery) -> None:
    @app.task
    def f() -> None: ...

    with pytest.raises(ImproperlyConfigured, match="own connections"):
        f.apply_async(connection=object())
    with pytest.raises(TypeError, match=r"'countdwn' \(did you mean 'countdown'"):
        f.apply_async(countdwn=3)


def test_links_of_links_travel(app: Celery, sent: Sent) -> None:
    @app.task(name="proj.f")
    def f(*args: Any) -> None: ...

    f.apply_async(link=f.s(f.s(1)).set(link=f.s(2)))
    (callback,) = protocol2.read_body(sent()[0])[2]["callbacks"]
    assert callback["args"][0]["task"] == "proj.f"
    assert callback["options"]["link"]["args"] == [2]


def test_a_link_that_is_no_signature_is_refused(app: Celery, sent: Sent) -> None:
    @app.task
    def f() -> None: ...

    with pytest.raises(TypeError, match="take signatures"):
        f.apply_async(link=f)
    assert sent() == []


def test_celerys_worker_reads_a_naive_eta_as_the_same_instant(app: Celery, sent: Sent) -> None:
    """In whatever zone it is set to."""
    theirs = celery.Celery("theirs", set_as_current=False, timezone="Asia/Shanghai")
    message = theirs.amqp.as_task_v2("x", "f", (), {}, eta=datetime(2040, 1, 1, 12))

    @theirs.task(name="f", shared=False)
    def theirs_f() -> None: ...

    @app.task(name="f")
    def f() -> None: ...

    with pytest.warns(NaiveEtaWarning):
        f.apply_async(eta=datetime(2040, 1, 1, 12))
    request = StockRequest(
        Delivered(message.headers, message.body), app=theirs, headers=message.headers, decoded=True, body=message.body
    )
    assert datetime.fromisoformat(sent()[0].headers["eta"]) == request.eta


class Delivered:
    """What kombu hands to Celery's worker."""

    content_type, content_encoding, delivery_tag = "application/json", "utf-8", "t"

    def __init__(self, headers: Any, body: Any) -> None:
        self.headers, self.body, self.payload = headers, body, body
        self.properties: dict[str, Any] = {}
        self.delivery_info = {"exchange": "", "routing_key": "q"}


# -- by name ---------------------------------------------------------------------------------------------------------


def test_send_task_takes_the_options_of_a_task_that_is_known_here(app: Celery, sent: Sent) -> None:
    @app.task(name="proj.f", queue="slow", time_limit=9)
    def f(x: int) -> None: ...

    app.finalize()
    result = app.send_task("proj.f", [1], countdown=30)
    (message,) = sent("slow")
    assert message.headers["id"] == result.id
    assert message.headers["timelimit"] == [9, None]
    app.send_task("proj.f", [1], queue="fast", time_limit=None)
    assert sent("fast")[0].headers["timelimit"] == [None, None]


def test_send_task_of_an_unknown_one(app: Celery, sent: Sent) -> None:
    app.send_task("elsewhere.f", (1,), {"y": 2}, task_id="me", priority=4)
    (message,) = sent()
    assert (message.headers["task"], message.headers["id"]) == ("elsewhere.f", "me")
    assert protocol2.read_body(message)[:2] == ([1], {"y": 2})
    with pytest.raises(TypeError, match="priorty"):
        app.send_task("elsewhere.f", priorty=4)


def test_a_call_that_has_expired_is_sent_with_a_warning(
    app: Celery, sent: Sent, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task
    def f() -> None: ...

    f.apply_async(expires=-5)
    assert sent()[0].properties["expiration"] == "0"
    assert "after it expires" in caplog.text
