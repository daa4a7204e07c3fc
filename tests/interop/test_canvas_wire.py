"""The same canvas sent by real Celery and by us: the same messages, field by field, but for ids, which are random in
both. They are named in the order in which they appear, so that the same id stands in the same places."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import celery
import pytest

import celeriac
from celeriac.wire import envelope

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

#: Every field but where and by whom it was sent.
HEADERS = (
    "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id", "parent_id",
    "argsrepr", "kwargsrepr", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps",
)  # fmt: skip


class Side:
    """A library, an app with a few tasks, and what it has sent."""

    def __init__(self, library: Any, app: Any, drain: Callable[[], list[Any]]) -> None:
        self.library, self.app, self._drain = library, app, drain
        self.chain, self.group, self.chord = library.chain, library.group, library.chord
        self.signature = library.signature

        @app.task(name="add", shared=False)
        def add(x: Any, y: Any = 0) -> Any:
            return x + y

        @app.task(name="total", shared=False)
        def total(values: Any) -> Any:
            return sum(values)

        self.add, self.total = app.tasks["add"], app.tasks["total"]

    def sent(self) -> Any:
        """The messages in order, with ids named as they appear."""
        names: dict[str, str] = {}
        text = json.dumps(self._drain(), sort_keys=True)
        return json.loads(ID.sub(lambda found: names.setdefault(found[0], f"id-{len(names)}"), text))


@pytest.fixture
def stock() -> Iterator[Side]:
    app = celery.Celery("stock", broker="memory://", backend="cache+memory://", set_as_current=True)
    app.conf.task_default_queue = queue = f"q{uuid4().hex}"
    with app.connection_for_write() as connection:
        channel = connection.default_channel

        def drain() -> list[Any]:
            found = []
            while channel._size(queue):
                message = channel._get(queue)
                body = json.loads(channel.decode_body(message["body"], message["properties"]["body_encoding"]))
                found.append(plain(message["headers"], message["properties"], body))
            return found

        yield Side(celery, app, drain)
    app.close()


@pytest.fixture
def ours() -> Iterator[Side]:
    url = f"memory://{uuid4()}"
    with celeriac.Celery("ours", broker=url, backend=url, set_as_current=False) as app:

        def drain() -> list[Any]:
            messages = [envelope.decode(payload) for payload in app.broker.peek("celery", 100_000)]
            app.broker.purge(["celery"])
            return [plain(m.headers, m.properties, json.loads(m.body)) for m in messages]

        yield Side(celeriac, app, drain)


def plain(headers: Any, properties: Any, body: Any) -> Any:
    """What is compared of one message."""
    kept = {name: headers.get(name) for name in HEADERS}
    if kept["stamped_headers"]:
        kept["stamped_headers"] = sorted(kept["stamped_headers"])
    for name in ("argsrepr", "kwargsrepr"):  # `<...>` of the library's own classes
        kept[name] = re.sub(r"0x[0-9a-f]+", "0x", str(kept[name]))
    sent = {name: properties.get(name) for name in ("correlation_id", "priority", "delivery_mode")}
    return {"headers": kept, "properties": sent, "body": sorted_stamps(without_reply(body))}


def without_reply(value: Any) -> Any:
    """Which reply queue it is depends on the thread, and an id that is named first would shift the others."""
    if isinstance(value, dict):
        return {k: without_reply(v) for k, v in value.items() if k != "reply_to"}
    return [without_reply(v) for v in value] if isinstance(value, list) else value


def sorted_stamps(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: sorted(v) if k == "stamped_headers" and v else sorted_stamps(v) for k, v in value.items()}
    return [sorted_stamps(v) for v in value] if isinstance(value, list) else value


def visitor(side: Side) -> Any:
    base: Any = side.library.StampingVisitor if side.library is celeriac else celery.canvas.StampingVisitor

    class Visitor(base):  # type: ignore[misc]
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return {"mine": sig.task, "stamped_headers": ["mine"]}

        def on_callback(self, callback: Any, **headers: Any) -> Any:
            return {"callback": True}

    return Visitor()


#: Each sends one canvas.
CANVASES: dict[str, Callable[[Side], Any]] = {
    "call": lambda s: s.add.s(1).apply_async((2,), priority=3, headers={"a": "b"}),
    "immutable": lambda s: s.add.si(1, 1).apply_async((7,)),
    "links": lambda s: s.add.s(1, 1).set(link=s.add.s(5), link_error=s.total.si([])).delay(),
    "chain": lambda s: (s.add.s(1, 1) | s.add.s(2) | s.add.s(3)).delay(),
    "chain of one": lambda s: s.chain(s.add.s(1, 1)).delay(),
    "chain with args": lambda s: s.chain(s.add.s(1), s.add.s(2)).apply_async((5,)),
    "chain with options": lambda s: s.chain(s.add.s(1, 1), s.add.s(2)).apply_async(
        task_id="last", priority=4, link=s.add.s(9), link_error=s.total.s([]), queue=None
    ),
    "chain with links": lambda s: (s.add.s(1, 1).set(link=[s.add.s(8)]) | s.add.s(2)).on_error(s.total.si([])).delay(),
    "chain of options": lambda s: (s.add.s(1, 1) | s.add.s(2).set(priority=1, time_limit=9)).set(priority=7).delay(),
    "nested chains": lambda s: s.chain(s.chain(s.add.s(1, 1), s.add.s(2)), s.chain(s.add.s(3), s.add.s(4))).delay(),
    "chain of dicts": lambda s: s.signature(
        json.loads(json.dumps(s.add.s(1, 1) | s.add.s(2))), app=s.app
    ).delay(),
    "group": lambda s: s.group(s.add.s(i, i) for i in range(3)).delay(),
    "group with args": lambda s: s.group([s.add.s(1), s.add.si(2, 2)])(5),
    "group with options": lambda s: s.group([s.add.s(1, 1), s.add.s(2, 2)]).apply_async(task_id="gid", priority=2),
    "group of one": lambda s: s.group([s.add.s(1, 1)]).delay(),
    "group of chains": lambda s: s.group(s.add.s(1, 1) | s.add.s(2), s.add.s(3, 3) | s.add.s(4)).delay(),
    "task, group": lambda s: (s.add.s(1, 1) | s.group(s.add.s(1), s.add.s(2))).delay(),
    "task, group of one, task": lambda s: (s.add.s(1, 1) | s.group(s.add.s(1)) | s.add.s(2)).delay(),
    "chord": lambda s: s.chord([s.add.s(1, 1), s.add.s(2, 2)])(s.total.s()),
    "chord of one": lambda s: s.chord([s.add.s(1, 1)])(s.total.s()),
    "chord with options": lambda s: s.chord([s.add.s(1, 1), s.add.s(2, 2)], s.total.s()).apply_async(
        task_id="body", priority=5, link=s.add.s(1), link_error=s.add.si(1)
    ),
    "empty chord": lambda s: s.chord([], s.total.s()).delay(),
    "group, task": lambda s: (s.group(s.add.s(1, 1), s.add.s(2, 2)) | s.total.s()).delay(),
    "group, task, task": lambda s: (s.group(s.add.s(1, 1), s.add.s(2, 2)) | s.total.s() | s.add.s(1)).delay(),
    "group, group": lambda s: (s.group(s.add.s(1, 1), s.add.s(2)) | s.group(s.total.s(), s.total.s())).delay(),
    "group, group, task": lambda s: (
        s.group(s.add.s(1, 1), s.add.s(2)) | s.group(s.total.s(), s.total.s()) | s.total.s()
    ).delay(),
    "task, group, task": lambda s: (s.add.s(1, 1) | s.group(s.add.s(1), s.add.s(2)) | s.total.s()).delay(),
    "task, group, task, group, task": lambda s: (
        s.add.s(1, 1) | s.group(s.add.s(1), s.add.s(2)) | s.total.s() | s.group(s.add.s(3), s.add.s(4)) | s.total.s()
    ).delay(),
    "chord in chain": lambda s: (
        s.chain(s.add.s(1, 1), s.chord([s.add.s(1), s.add.s(2)], s.total.s()), s.add.s(9)).delay()
    ),
    "chord of chains": lambda s: s.chord([s.add.s(1, 1) | s.add.s(2), s.add.s(3, 3)], s.total.s() | s.add.s(1)).delay(),
    "chord in chord": lambda s: s.chord(
        [s.chord([s.add.s(1, 1), s.add.s(2, 2)], s.total.s()), s.add.s(3, 3)], s.total.s()
    ).delay(),
    "chord in group": lambda s: s.group(s.chord([s.add.s(1, 1), s.add.s(2, 2)], s.total.s()), s.add.s(3, 3)).delay(),
    "chord then chord": lambda s: (
        s.chord([s.add.s(1, 1), s.add.s(2, 2)], s.total.s()) | s.chord([s.add.s(1), s.add.s(2)], s.total.s())
    ).delay(),
    "chord with a group as body": lambda s: (
        s.chord([s.add.s(1, 1), s.add.s(2)], s.group(s.total.s(), s.total.s())).delay()
    ),
    "groups in the chord's chains": lambda s: s.chord(
        [s.add.s(1, 1) | s.group(s.add.s(1), s.add.s(2)), s.add.s(4, 4)], s.total.s()
    ).delay(),
    "empty groups": lambda s: s.chain(s.group([]), s.add.s(1, 1), s.group([]), s.add.s(2)).delay(),
    "chain with an empty chain": lambda s: s.chain(s.add.s(1, 1), s.chain(), s.add.s(1)).delay(),
    "map": lambda s: s.add.map([1, 2]).delay(),
    "starmap": lambda s: s.add.starmap([(1, 2), (3, 4)]).apply_async(priority=2),
    "chunks": lambda s: s.add.chunks(zip(range(5), range(5), strict=True), 2).delay(),
    "chunks in a chord": lambda s: (s.add.chunks([(1, 2), (3, 4)], 1).group() | s.total.s()).delay(),
    "stamped": lambda s: stamped(s.add.s(1, 1), foo="bar").delay(),
    "stamped chain": lambda s: stamped(s.add.s(1, 1) | s.add.s(2), foo="bar", n=1).delay(),
    "stamped chord": lambda s: stamped(s.chord([s.add.s(1, 1), s.add.s(2)], s.total.s()), foo="bar").delay(),
    "stamped group": lambda s: stamped(s.group(s.add.s(1, 1), s.add.s(2, 2)), foo="bar").delay(),
    "stamped twice": lambda s: stamped(stamped(s.add.s(1, 1), foo="a"), append_stamps=True, foo="b").delay(),
    "visited": lambda s: stamped(
        s.add.s(1, 1).set(link=[s.add.s(3)]) | s.group(s.add.s(1), s.add.s(2)), visitor(s), given=1
    ).delay(),
    "frozen": lambda s: frozen(s.add.s(1, 1) | s.add.s(2)).delay(),
    "frozen group": lambda s: frozen(s.group(s.add.s(1, 1), s.add.s(2, 2))).delay(),
    "cloned": lambda s: (s.add.s(1) | s.add.s(2)).clone((9,)).delay(),
    "body of a chain of chords": lambda s: (
        s.group(s.add.s(1, 1), s.add.s(2)) | s.total.s() | s.group(s.add.s(1), s.add.s(2)) | s.total.s() | s.add.s(1)
    ).delay(),
}  # fmt: skip


def stamped(signature: Any, *args: Any, **headers: Any) -> Any:
    signature.stamp(*args, **headers)
    return signature


def frozen(signature: Any) -> Any:
    signature.freeze()
    return signature


@pytest.mark.parametrize("name", CANVASES)
def test_the_same_messages(stock: Side, ours: Side, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CANVASES[name](stock)
        theirs = stock.sent()
        CANVASES[name](ours)
        mine = ours.sent()
    assert theirs
    assert mine == theirs


@pytest.mark.parametrize("shape", ["chain", "chords in a chain", "chain of groups and tasks"])
def test_messages_grow_linearly(ours: Side, shape: str) -> None:
    s = ours

    def size(steps: int) -> int:
        one = {
            "chain": lambda: [s.add.s(1)],
            "chords in a chain": lambda: [s.chord([s.add.s(1), s.add.s(2)], s.total.s())],
            "chain of groups and tasks": lambda: [s.group(s.add.s(1), s.add.s(2)), s.total.s()],
        }[shape]
        s.chain([s.add.s(1, 1), *(step for _ in range(steps) for step in one())]).delay()
        return len(json.dumps(s.sent()))

    ten, twenty, forty = size(10), size(20), size(40)
    assert forty - twenty < 2.2 * (twenty - ten)


def test_a_large_group_travels_in_batches(ours: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    publish = ours.app.broker.publish

    def counted(messages: Any, *rest: Any) -> None:
        calls.append(len(messages))
        publish(messages, *rest)

    monkeypatch.setattr(ours.app.broker, "publish", counted)
    result = ours.group(ours.add.s(n, n) for n in range(2500)).delay()
    assert calls == [1000, 1000, 500]
    assert len(result) == 2500
    sent = [envelope.decode(payload).headers for payload in ours.app.broker.peek("celery", 3000)]
    assert [one["id"] for one in sent] == [member.id for member in result]
    assert [one["group_index"] for one in sent] == list(range(2500))
    assert {one["group"] for one in sent} == {result.id}
