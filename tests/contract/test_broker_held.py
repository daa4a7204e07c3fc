"""The broker port: a look at what a consumer holds. One suite for every engine."""

from __future__ import annotations

from celeriac.brokers.base import Settlement
from tests.contract.engines import QUEUE, Engine, join_queue, publish, settle, turn


def test_it_sees_what_is_in_flight_and_changes_nothing(engine: Engine) -> None:
    broker, other = engine.broker(), engine.broker()
    publish(broker, "a", "b", "c")
    consumer = join_queue(broker, "n/1")
    assert other.held("n/1", [QUEUE]) == []
    deliveries = turn(consumer, (), 2).deliveries
    seen = sorted(other.held("n/1", [QUEUE]), key=lambda delivery: delivery.receipt)
    assert [(each.queue, each.receipt, each.payload) for each in seen] == [
        (each.queue, each.receipt, each.payload) for each in deliveries
    ]
    settle(consumer, Settlement(deliveries[0]))
    assert [each.receipt for each in other.held("n/1", [QUEUE])] == [deliveries[1].receipt]
    assert other.held("nobody", [QUEUE]) == []
