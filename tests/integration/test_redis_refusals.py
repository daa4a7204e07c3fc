"""Outcomes that a real Redis refuses for good: they keep no other, and no runner, waiting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.brokers.base import Settlement, Verdict
from celeriac.brokers.redis import RedisBroker
from celeriac.errors import BrokerError
from celeriac.worker.runner.sift import sift
from tests.integration.redis_tools import SUCCESS, backend_of, broker_of, done, ids, outgoing, turn
from tests.servers import RedisServer


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator[RedisBroker]:
    redis_server.ask("FLUSHALL")
    redis_server.ask("SET", "taken", "a key of another type")
    broker = broker_of(redis_server.url(0))
    backend = backend_of(redis_server.url(0))
    broker.join(backend.identity, backend.location)
    broker.enlist("me", ["celery"])
    yield broker
    broker.close()


def test_one_is_set_aside_and_the_others_are_settled(broker: RedisBroker, redis_server: RedisServer) -> None:
    broker.publish([outgoing("a"), outgoing("b"), outgoing("c")])
    consumer = broker.consumer("me", ["celery"])
    first, second, third = turn(consumer, limit=3).deliveries
    outcomes = [done(first), done(second, follow_ups=(outgoing("x", "taken"),)), done(third)]
    with pytest.raises(BrokerError):
        turn(consumer, outcomes)

    def settle(settlements: list[Settlement]) -> None:
        assert turn(consumer, settlements).refused == ()

    sift(outcomes, settle)
    assert outcomes == []
    (letter,) = broker.dead_letters(["celery"])
    assert (letter.task_id, letter.reason) == ("b", "unsettled")
    assert backend_of(redis_server.url(0)).get_many(["a", "b", "c"]) == dict.fromkeys("abc", SUCCESS)
    assert broker.count(["celery"])["celery"].in_flight == 0


def test_an_id_that_no_server_takes(broker: RedisBroker) -> None:
    broker.publish([outgoing("a"), outgoing("b")])
    consumer = broker.consumer("me", ["celery"])
    first, second = turn(consumer, limit=2).deliveries
    with pytest.raises(BrokerError):
        turn(consumer, [done(first), done(second, task_id="\ud800")])
    sift(outcomes := [done(first), done(second, task_id="\ud800")], lambda some: [turn(consumer, some)].clear())
    assert outcomes == []
    assert [letter.reason for letter in broker.dead_letters(["celery"])] == ["unsettled"]


def test_nothing_is_set_aside_where_everything_is_refused(broker: RedisBroker) -> None:
    broker.publish([outgoing("a")])
    consumer = broker.consumer("me", ["celery"])
    outcomes = [done(delivery) for delivery in turn(consumer, limit=1).deliveries]
    kept = list(outcomes)

    def refuse(settlements: list[Settlement]) -> None:
        raise BrokerError("NOPERM")

    with pytest.raises(BrokerError):
        sift(outcomes, refuse)
    assert outcomes == kept


def test_what_was_reserved_beside_a_refused_call_is_found(broker: RedisBroker) -> None:
    """A turn of more than a megabyte is several calls: the last one reserves though an earlier one is refused."""
    broker.publish([outgoing("a"), outgoing("b"), outgoing("c")])
    consumer = broker.consumer("me", ["celery"])
    first, second = turn(consumer, limit=2).deliveries
    big = outgoing("x", "elsewhere", body=b"x" * 800_000)
    with pytest.raises(BrokerError):
        turn(consumer, [done(first, follow_ups=(outgoing("y", "taken"),)), done(second, follow_ups=(big,))], limit=1)
    assert ids(turn(consumer, [Settlement(first, Verdict.REQUEUE)]).deliveries) == ["c"]
