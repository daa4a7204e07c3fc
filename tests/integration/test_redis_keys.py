"""The keys that stock peers share with us, compared with what kombu itself writes and reads."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.redis_tools import broker_of, done, id_of, ids, message, outgoing, turn
from tests.servers import RedisServer

kombu: Any = pytest.importorskip("kombu")


def kombu_queue(name: str) -> Any:
    return kombu.Queue(name, kombu.Exchange(name, "direct"), routing_key=name)


def snapshot(server: RedisServer) -> dict[bytes, Any]:
    keys = sorted(key for key in server.ask("KEYS", "*") if b"celeriac" not in key)
    kinds = {key: server.ask("TYPE", key) for key in keys}
    return {
        key: sorted(server.ask("SMEMBERS", key)) if kinds[key] == b"set" else server.ask("LLEN", key) for key in keys
    }


@pytest.fixture(autouse=True)
def _empty(redis_server: RedisServer) -> None:
    redis_server.ask("FLUSHALL")


@pytest.mark.parametrize(
    "options", [{}, {"global_keyprefix": "app1:"}, {"sep": ":"}, {"priority_steps": [0, 5]}], ids=str
)
def test_the_same_keys_as_kombu(redis_server: RedisServer, options: dict[str, Any]) -> None:
    priorities = [None, *range(10)]
    with kombu.Connection(redis_server.url(), transport_options=options) as connection:
        producer = connection.Producer()
        for priority in priorities:
            producer.publish({}, routing_key="celery", declare=[kombu_queue("celery")], priority=priority)
        producer.publish({}, routing_key="other", declare=[kombu_queue("other")])
    theirs = snapshot(redis_server)
    redis_server.ask("FLUSHALL")
    broker = broker_of(redis_server.url(), **options)
    broker.publish([outgoing(priority, priority=priority) for priority in priorities])
    broker.publish([outgoing("x", "other")])
    assert snapshot(redis_server) == theirs


def test_kombu_takes_ours_in_our_order(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url())
    broker.publish([outgoing("a"), outgoing("b"), outgoing("urgent", priority=0), outgoing("later", priority=9)])
    broker.enlist("me", ["celery"])
    (first,) = turn(broker.consumer("me", ["celery"]), limit=1).deliveries
    broker.give_back("me", ["celery"], 0)
    taken = []
    with kombu.Connection(redis_server.url()) as connection:
        queue = kombu_queue("celery")(connection.default_channel)
        queue.declare()
        while (got := queue.get()) is not None:
            taken.append(got.headers["id"])
            got.ack()
    assert taken == ["a", "b", "urgent", "later"]
    assert id_of(first) == "a"


def test_we_take_kombus(redis_server: RedisServer) -> None:
    with kombu.Connection(redis_server.url()) as connection:
        producer = connection.Producer()
        for name, priority in [("c", 9), ("a", None), ("b", 4)]:
            producer.publish(
                "[]", routing_key="celery", headers={"id": name}, priority=priority, declare=[kombu_queue("celery")]
            )
    broker = broker_of(redis_server.url())
    broker.enlist("me", ["celery"])
    assert ids(turn(broker.consumer("me", ["celery"]), limit=9).deliveries) == ["a", "b", "c"]


def test_a_stock_sweep_never_sees_what_we_hold(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url())
    broker.enlist("me", ["celery"])
    broker.publish([outgoing("a")])
    consumer = broker.consumer("me", ["celery"])
    (delivery,) = turn(consumer, limit=1).deliveries
    with kombu.Connection(redis_server.url(), transport_options={"visibility_timeout": 0}) as connection:
        channel = connection.default_channel
        for _ in range(20):
            channel.qos.restore_visible()
        assert kombu_queue("celery")(channel).get() is None
    assert turn(consumer, [done(delivery, record=None)]).refused == ()


def test_own_keys_share_the_slot_of_their_queue(redis_server: RedisServer) -> None:
    for prefix in ("", "app1:"):
        broker = broker_of(redis_server.url(), global_keyprefix=prefix)
        for queue in ("celery", "päth/with spaces"):
            broker.enlist("me", [queue])
    bases = list(redis_server.ask("KEYS", "*leases"))
    assert len(bases) == 4
    for key in bases:
        tag = key[key.index(b"{") + 1 : key.index(b"}")]
        assert key == (b"app1:" if tag.startswith(b"app1:") else b"") + b"celeriac:1:{" + tag + b"}:leases"


def test_odd_names_stay_apart(redis_server: RedisServer) -> None:
    names = ["q", "q}:leases", "{q}", "q%7D:leases", "q:inflight:me"]
    broker = broker_of(redis_server.url())
    for name in names:
        broker.publish([outgoing(name, name)])
        broker.enlist("me", [name])
    for name in names:
        assert ids(turn(broker.consumer("me", [name]), limit=9).deliveries) == [name]
    assert all(counts.in_flight == 1 and counts.ready == 0 for counts in broker.count(names).values())


def test_the_envelope_is_kombus(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url())
    broker.publish([outgoing("a", priority=5)])
    with kombu.Connection(redis_server.url()) as connection:
        got = kombu_queue("celery")(connection.default_channel).get(accept=["json"])
        assert got is not None
        assert (got.headers["id"], got.body, got.delivery_info["routing_key"]) == ("a", b"[]", "celery")
        assert message("a", b"[]").headers == got.headers
