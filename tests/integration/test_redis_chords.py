"""Chords' keys on Redis, counted by us and by Celery's own backend: one set, one that completes it, one form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.brokers.base import Member, Settlement
from celeriac.brokers.redis.consumer import RedisConsumer
from celeriac.errors import BackendError
from celeriac.wire.message import Record
from celeriac.wire.outcome import document
from tests.integration.redis_tools import backend_of, broker_of, id_of, ids, outgoing, turn
from tests.servers import RedisServer

celery: Any = pytest.importorskip("celery")

pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated")  # Celery's

VALUES = [None, "ä", 1.5, [1, {"a": []}], {"x": None}, 2**53]


class Both:
    """Our backend and consumer, and Celery's backend, on one server; results in a database of their own."""

    def __init__(self, server: RedisServer, ordered: bool = True, **settings: Any) -> None:
        options = {"result_chord_ordered": ordered, "global_keyprefix": "shop"}
        self.server = server
        self.broker = broker_of(server.url())
        self.backend = backend_of(server.url(3), **options)
        assert self.broker.join(self.backend.identity, self.backend.location)
        self.broker.enlist("n/1", ["celery"])
        self.consumer: RedisConsumer = self.broker.consumer("n/1", ["celery"])
        self.stock = celery.Celery("stock", broker=server.url(), backend=server.url(3), set_as_current=False)
        self.stock.conf.update(
            result_backend_transport_options=options, result_accept_content=["json", "pickle", "yaml", "msgpack"],
            **settings,
        )  # fmt: skip
        self.serializer = self.stock.conf.result_serializer
        self.called: list[Any] = []

        @self.stock.task(name="body")
        def body(values: Any) -> None: ...

        self.body = body

    def ours(self, task_id: str, index: int, value: Any = None, group_id: str = "g") -> None:
        """A member ends here."""
        data = document(task_id, "SUCCESS", value, serializer=self.serializer)
        member = Member(group_id, task_id, index, data, outgoing(f"fire-{group_id}"))
        turn(self.consumer, [Settlement(None, record=Record(task_id, data), members=(member,))])

    def theirs(self, task_id: str, index: int, value: Any = None, group_id: str = "g") -> None:
        """A member ends there."""
        request = SimpleNamespace(id=task_id, group=group_id, group_index=index, chord=self.body.s())
        self.stock.backend.store_result(task_id, value, "SUCCESS")
        self.stock.backend.on_chord_part_return(request, "SUCCESS", value)

    def fired(self) -> list[str]:
        """What calls the body, ours and theirs, in the order of sending."""
        stock = [json.loads(payload)["headers"]["task"] for payload in self.server.ask("LRANGE", "celery", 0, -1)]
        return [*ids(turn(self.consumer, [], 10).deliveries)[: -len(stock) or None], *stock]

    def close(self) -> None:
        self.consumer.close()
        self.broker.close()
        self.backend.close()
        self.stock.close()


@pytest.fixture
def both(redis_server: RedisServer) -> Iterator[Callable[..., Both]]:
    redis_server.ask("FLUSHALL")
    made: list[Both] = []

    def make(**options: Any) -> Both:
        made.append(Both(redis_server, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("last", ["ours", "theirs"])
def test_a_member_that_both_run_counts_once(both: Callable[..., Both], ordered: bool, last: str) -> None:
    one = both(ordered=ordered)
    one.backend.begin_group("g", 3, 60)
    one.ours("a", 0)
    one.theirs("a", 0)
    one.theirs("b", 1)
    one.ours("b", 1)
    assert [part.task_id for part in one.backend.parts("g")] == ["a", "b"]
    assert one.fired() == []
    getattr(one, last)("c", 2)
    assert one.fired() == (["fire-g"] if last == "ours" else ["body"])
    for again in ("a", "c"):
        one.theirs(again, "abc".index(again))
        one.ours(again, "abc".index(again))
    assert one.fired() == []


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
def test_either_reads_what_the_other_has_counted(both: Callable[..., Both], serializer: str) -> None:
    if serializer in ("yaml", "msgpack"):
        pytest.importorskip(serializer)
    one = both(result_serializer=serializer)
    one.stock.backend.set_chord_size("g", 2 * len(VALUES))
    for index, value in enumerate(VALUES):
        one.ours(f"ours-{index}", 2 * index, value)
        one.theirs(f"theirs-{index}", 2 * index + 1, value) if index < len(VALUES) - 1 else None
    stored = [
        one.stock.backend.decode(data) for data in one.server.ask("ZRANGE", "shop_celery-taskset-meta-g.j", 0, -1, db=3)
    ]
    assert [(state, value) for _, _, state, value in stored if state != "SUCCESS"] == []
    assert [value for _, task, _, value in stored if task.startswith("ours")] == VALUES
    parts = one.backend.parts("g")
    assert [part.index for part in parts] == list(range(2 * len(VALUES) - 1))
    read = [one.stock.backend.decode_result(part.document)["result"] for part in parts]
    assert read == [value for value in VALUES for _ in range(2)][:-1]
    if serializer != "json":
        one.backend.forget([parts[0].task_id])
        with pytest.raises(BackendError, match=parts[0].task_id):
            one.backend.parts("g")


def test_what_is_compressed_and_what_no_other_json_has(both: Callable[..., Both]) -> None:
    one = both(result_compression="gzip")
    one.backend.begin_group("g", 2, None)
    one.theirs("a", 0, ["x"] * 1000)
    one.ours("b", 1, float("nan"))
    first, second = [json.loads(part.document)["result"] for part in one.backend.parts("g")]
    assert first == ["x"] * 1000
    assert second != second
    assert one.fired() == ["fire-g"]


def test_all_keys_are_kept_as_long_as_the_size(both: Callable[..., Both]) -> None:
    one = both()

    def left(end: str) -> int:
        seconds: int = one.server.ask("TTL", f"shop_celery-taskset-meta-g.{end}", db=3)
        return seconds

    one.ours("a", 0)
    assert 80000 < left("j") <= 86400 >= left("d") > 80000
    one.backend.grow_group("g", 1)
    one.backend.begin_group("g", 1, 500)
    assert all(400 < left(end) <= 500 for end in "jdts")
    one.ours("b", 1)
    assert all(400 < left(end) <= 500 for end in "jdtsc")
    one.backend.begin_group("g", 1, None)
    assert [left(end) for end in "jdts"] == [-1] * 4


def test_keys_of_another_kind_take_nothing_else_with_them(both: Callable[..., Both]) -> None:
    one = both()
    one.server.ask("SET", "shop_celery-taskset-meta-g.j", "no set", db=3)
    one.backend.begin_group("h", 1, 60)
    one.ours("a", 0)
    one.ours("b", 0, group_id="h")
    assert one.backend.get_many(["a", "b"]).keys() == {"a", "b"}
    assert one.fired() == ["fire-h"]


def test_what_calls_the_body_comes_first_on_the_queue_of_the_member(both: Callable[..., Both]) -> None:
    """Whatever queue the body is for: that may be one that only stock workers read."""
    one = both()
    queues = ["one", "two", "three"]
    one.broker.enlist("n/2", queues)
    consumer = one.broker.consumer("n/2", queues)
    one.broker.publish([outgoing(f"{queue}-{n}", queue) for queue in queues for n in range(3)])
    held = turn(consumer, [], 6).deliveries
    (last,) = [each for each in held if id_of(each) == "two-1"]
    one.backend.begin_group("g", 1, 60)
    data = document("two-1", "SUCCESS", None)
    member = Member("g", "two-1", 0, data, outgoing("fire", "of-stock-workers"))
    found = turn(consumer, [Settlement(last, members=(member,))], 2).deliveries
    assert [(id_of(each), each.queue) for each in found[:1]] == [("fire", "two")]
    assert len(found) == 2
    one.broker.give_back("n/2", queues, 0)
    assert one.server.ask("LLEN", "celeriac:1:{two}:own") == 1
    assert one.broker.count(["two", "of-stock-workers"])["of-stock-workers"].ready == 0
    everything = turn(consumer, [], 100).deliveries
    assert id_of(everything[0]) == "fire"
    assert len(everything) == 9
    consumer.close()
