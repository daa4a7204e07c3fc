"""Scripts that cannot end what they do must not begin it: Lua does not roll back."""

from __future__ import annotations

import time

import pytest

from celeriac.brokers.base import Counts, Settlement, Verdict
from celeriac.brokers.bounds import Bounds
from celeriac.brokers.redis import RedisBroker
from celeriac.brokers.registry import open_broker
from celeriac.errors import BrokerError, OperationalError
from tests.integration.redis_tools import broker_of, outgoing, turn
from tests.servers import RedisServer


@pytest.fixture(autouse=True)
def _empty(redis_server: RedisServer) -> None:
    redis_server.ask("FLUSHALL")


def settle(broker: RedisBroker, count: int, verdict: Verdict, priority: int | None = None, **facts: object) -> None:
    broker.enlist("n/1", ["celery"])
    consumer = broker.consumer("n/1", ["celery"])
    broker.publish([outgoing(number, priority=priority) for number in range(count)])
    deliveries = turn(consumer, limit=count).deliveries
    turn(consumer, [Settlement(each, verdict, **facts) for each in deliveries])  # type: ignore[arg-type]
    consumer.close()


@pytest.mark.parametrize(("priority", "key"), [(None, "celery"), (6, "celery\x06\x166")])
def test_what_cannot_be_queued_stays_where_it_is(redis_server: RedisServer, priority: int | None, key: str) -> None:
    broker = broker_of(redis_server.url())
    settle(broker, 3, Verdict.DEAD, priority, reason="failed", again_after=0.001, again_most=1)
    settle(broker, 4, Verdict.PUT_OFF, priority, due=time.time())
    redis_server.ask("SET", key, "another program's")
    ids = [letter.id for letter in broker.dead_letters(["celery"])]
    for attempt in (lambda: broker.requeue_dead("celery", ids), lambda: broker.promote(["celery"])):
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            attempt()
    redis_server.ask("DEL", key)
    assert broker.count(["celery"])["celery"] == Counts(delayed=4, dead=3)
    broker.close()


@pytest.mark.parametrize(("priority", "key"), [(None, "celery"), (6, "celery\x06\x166")])
def test_what_cannot_be_given_back_stays_held(redis_server: RedisServer, priority: int | None, key: str) -> None:
    broker = broker_of(redis_server.url())
    broker.enlist("n/1", ["celery"])
    consumer = broker.consumer("n/1", ["celery"])
    broker.publish([outgoing(1, priority=priority)])
    assert len(turn(consumer, limit=1).deliveries) == 1
    redis_server.ask("SET", key, "another program's")
    for attempt in (lambda: broker.give_back("n/1", ["celery"], 0), lambda: broker.dismiss("n/1", ["celery"])):
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            attempt()
    redis_server.ask("DEL", key)
    broker.dismiss("n/1", ["celery"])
    assert broker.count(["celery"])["celery"] == Counts(ready=1)
    consumer.close()
    broker.close()


def test_a_key_that_is_no_queue_keeps_no_other_queue_from_being_promoted(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url())
    settle(broker, 2, Verdict.DEAD, reason="failed", again_after=0.001, again_most=1)
    settle(broker, 2, Verdict.PUT_OFF, due=1.0)
    broker.enlist("n/1", ["other"])
    consumer = broker.consumer("n/1", ["other"])
    broker.publish([outgoing(1, "other")])
    (delivery,) = turn(consumer, limit=1).deliveries
    turn(consumer, [Settlement(delivery, Verdict.PUT_OFF, due=1.0)])
    redis_server.ask("SET", "celery", "another program's")
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        broker.promote(["celery", "other"])
    redis_server.ask("DEL", "celery")
    counts = broker.count(["celery", "other"])
    assert counts == {"celery": Counts(delayed=2, dead=2), "other": Counts(ready=1)}
    assert broker.promote(["celery"]) == (4, None)
    consumer.close()
    broker.close()


def test_large_messages_are_promoted_in_several_calls(redis_server: RedisServer) -> None:
    """Redis serves nobody else meanwhile: a call of 1,000 of 20 MB would hold it for a minute."""
    broker = broker_of(redis_server.url())
    broker.enlist("n/1", ["celery"])
    consumer = broker.consumer("n/1", ["celery"])
    for number in range(6):
        broker.publish([outgoing(number, body=b"x" * 2_000_000)])
        (delivery,) = turn(consumer, limit=1).deliveries
        verdict = Verdict.DEAD if number % 2 else Verdict.PUT_OFF
        turn(consumer, [Settlement(delivery, verdict, due=number / 100, again_after=0.001, again_most=1)])
    calls = []
    while sum(calls) < 6:
        calls.append(broker.promote(["celery"])[0])
    assert 1 < len(calls) <= 4
    broker.publish([outgoing(number) for number in range(500)])
    small = turn(consumer, limit=506).deliveries[6:]
    turn(consumer, [Settlement(each, Verdict.PUT_OFF, due=1.0) for each in small])
    assert broker.promote(["celery"]) == (500, None)
    consumer.close()
    broker.close()


def test_a_batch_for_a_limited_queue_and_a_key_that_is_none(redis_server: RedisServer) -> None:
    broker = open_broker(redis_server.url(), bounds=Bounds(queue_lengths={"celery": 3}))
    redis_server.ask("SET", "other", "another program's")
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        broker.publish([outgoing(1), outgoing(2, "other")])
    assert broker.count(["celery"])["celery"] == Counts()
    broker.close()


def test_bytes_of_another_producer_do_not_hide_the_other_letters(redis_server: RedisServer) -> None:
    broker = open_broker(redis_server.url(), bounds=Bounds(queue_length=1, drop_oldest=True))
    odd = b'{"headers":{"task":"caf\xe9","id":"x"},"body":""}'
    redis_server.ask("LPUSH", "celery", odd)
    broker.publish([outgoing(1)])
    broker.publish([outgoing(2)])
    second, first = broker.dead_letters(["celery"])
    assert (second.task_id, first.payload, first.task) == ("1", odd, "caf\ufffd")
    broker.close()


def test_out_of_memory_nothing_is_lost_and_what_frees_memory_works(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url())
    bounded = open_broker(redis_server.url(), bounds=Bounds(queue_length=1, drop_oldest=True))
    settle(broker, 3, Verdict.DEAD, reason="failed", again_after=0.001, again_most=1)
    newest, middle, oldest = broker.dead_letters(["celery"])
    settle(broker, 1, Verdict.PUT_OFF, due=time.time())
    redis_server.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        for attempt in (
            lambda: bounded.publish([outgoing("new")]),
            lambda: broker.edit_dead(newest, b"{}"),
            lambda: broker.import_dead([newest]),
        ):
            with pytest.raises(OperationalError, match="maxmemory"):
                attempt()
        assert broker.requeue_dead("celery", [oldest.id]) == [oldest.id]
        assert broker.purge_dead("celery", [middle.id]) == 1
        assert broker.promote(["celery"])[0] == 2
        assert broker.count(["celery"])["celery"] == Counts(ready=3)
    finally:
        redis_server.ask("CONFIG", "SET", "maxmemory", 0)
        broker.close()
        bounded.close()
