"""`before_task_publish` and `after_task_publish` beside real Celery: the same arguments, the same changes honoured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import celery
import celery.signals
import pytest

import celeriac
from celeriac import signals
from celeriac.brokers.base import Outgoing

Heard = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def app() -> Iterator[Any]:
    with celeriac.Celery("one", broker="memory://publish-signals", set_as_current=False) as app:
        yield app


@pytest.fixture
def sent(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[Outgoing]:
    """What reaches the broker."""
    kept: list[Outgoing] = []
    broker = app.broker
    real = broker.publish
    monkeypatch.setattr(
        broker, "publish", lambda messages, timeout: (kept.extend(messages), real(messages, timeout))[1]
    )
    return kept


def listen(to: Any) -> tuple[Heard, Any]:
    heard: Heard = []

    def before(**named: Any) -> None:
        heard.append(("before", named))

    def after(**named: Any) -> None:
        heard.append(("after", named))

    to.before_task_publish.connect(before)
    to.after_task_publish.connect(after)
    return heard, (before, after)


def define(app: Any) -> Any:
    @app.task(name="one.add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


def call(add: Any) -> None:
    add.delay(1, y=2)
    add.apply_async((3,), {"y": 4}, priority=5, task_id="an-id", link=add.s(1), headers={"mine": 1})


def comparable(heard: Heard) -> list[Any]:
    """What does not differ from one run to the next."""
    same = []
    for name, named in heard:
        headers = {k: v for k, v in named["headers"].items() if k not in {"origin", "id", "root_id", "compression"}}
        body = json.loads(json.dumps(named["body"], default=dict))
        for link in body[2]["callbacks"] or ():
            link.pop("options"), link.pop("chord_size", None)
        same.append((name, sorted(named), named["sender"], body, named["exchange"], named["routing_key"], headers))
    return same


def test_receivers_hear_what_celerys_hear(app: Any) -> None:
    theirs, keep = listen(celery.signals)
    real = celery.Celery("one", broker="memory://", set_as_current=False)
    call(define(real))
    ours, keep_too = listen(signals)
    call(define(app))

    assert comparable(ours) == comparable(theirs)
    assert [name for name, _ in ours] == ["before", "after"] * 2
    for (_, mine), (_, yours) in zip(ours[::2], theirs[::2], strict=True):
        assert mine["retry_policy"] == yours["retry_policy"]
        assert {"correlation_id", "reply_to"} <= mine["properties"].keys()
    assert ours[2][1]["properties"]["priority"] == theirs[2][1]["properties"]["priority"] == 5
    assert keep
    assert keep_too


def test_what_a_receiver_changes_is_sent(app: Any, sent: list[Outgoing]) -> None:
    @signals.before_task_publish.connect(sender="one.add")
    def change(body: Any, headers: dict[str, Any], properties: dict[str, Any], **named: Any) -> None:
        headers["tenant"] = "acme"
        body[1]["y"] = 40
        body[2]["callbacks"] = []
        properties["priority"] = 3
        headers["eta"] = "2030-01-01T00:00:00+00:00"

    add = define(app)
    kwargs = {"y": 1}
    result = add.apply_async((2,), kwargs, serializer="json", compression="gzip")

    (outgoing,) = sent
    message = outgoing.message
    assert message.headers["tenant"] == "acme"
    assert message.headers["id"] == result.id
    assert message.headers["compression"] == "application/x-gzip"
    assert outgoing.priority == 3
    assert outgoing.due == 1893456000.0
    assert kwargs == {"y": 1}
    heard: Heard = []
    signals.after_task_publish.connect(after := lambda **named: heard.append(("after", named)))
    add.send_many([((1,), {}), ((2,), {"y": 9})])
    assert [named["body"][1] for _, named in heard] == [{"y": 40}, {"y": 40}]
    assert len(sent) == 3
    assert after


def test_the_next_call_starts_afresh(app: Any, sent: list[Outgoing]) -> None:
    add = define(app)

    @signals.before_task_publish.connect
    def change(body: Any, headers: dict[str, Any], **named: Any) -> None:
        headers["seen"] = headers.get("seen", 0) + 1
        body[2]["callbacks"] = [*(body[2]["callbacks"] or ()), "x"]

    add.delay(1)
    add.delay(1)
    signals.before_task_publish.disconnect(change)
    add.delay(1)

    assert [outgoing.message.headers.get("seen") for outgoing in sent] == [1, 1, None]
    assert [json.loads(outgoing.message.body)[2]["callbacks"] for outgoing in sent] == [["x"], ["x"], None]


def test_a_receiver_that_raises_harms_no_call(app: Any, sent: list[Outgoing]) -> None:
    @signals.before_task_publish.connect
    def broken(**named: Any) -> None:
        raise ValueError("no")

    define(app).delay(1)

    assert len(sent) == 1


def test_a_failed_publish_is_not_announced(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, keep = listen(signals)

    def refuse(messages: Any, timeout: float) -> None:
        raise celeriac.errors.OperationalError("no")

    monkeypatch.setattr(app.broker, "publish", refuse)
    with pytest.raises(celeriac.errors.OperationalError):
        define(app).apply_async((1,), retry=False)

    assert [name for name, _ in heard] == ["before"]
    assert keep
