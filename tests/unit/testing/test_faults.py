"""The broker that misbehaves: what it spoils, and what it never loses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from celeriac.brokers.base import Consumer, Counts, Outgoing, Settlement, Turn
from celeriac.brokers.registry import open_broker
from celeriac.drivers import memory
from celeriac.errors import OperationalError
from celeriac.testing import Fault, FaultyBroker, Scripted, Seeded
from celeriac.wire.message import Message

QUEUE = "celery"


@pytest.fixture
def broker() -> Iterator[FaultyBroker]:
    yield FaultyBroker(open_broker("memory://faults"), pause=lambda: None)
    memory.clear("memory://faults")


def _publish(broker: FaultyBroker, count: int) -> None:
    broker.publish([Outgoing(QUEUE, Message({}, str(number).encode(), {})) for number in range(count)])


def _turn(consumer: Consumer, settlements: list[Settlement], limit: int) -> Turn:
    consumer.send(settlements, limit)
    return consumer.receive()


def test_calm_by_itself(broker: FaultyBroker) -> None:
    _publish(broker, 2)
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=2)


@pytest.mark.parametrize(("fault", "published"), [(Fault.CUT, 0), (Fault.LOST, 1)])
def test_a_failed_publish_may_have_been_done(broker: FaultyBroker, fault: Fault, published: int) -> None:
    broker.plan = Scripted(publish=[fault])
    with pytest.raises(OperationalError):
        _publish(broker, 1)
    assert broker.count([QUEUE])[QUEUE].ready == published
    _publish(broker, 1)


def test_doubled_and_delayed(broker: FaultyBroker) -> None:
    paused: list[int] = []
    faulty = FaultyBroker(broker.broker, Scripted(publish=[Fault.DOUBLED, Fault.DELAYED]), lambda: paused.append(1))
    _publish(faulty, 1)
    assert faulty.count([QUEUE])[QUEUE].ready == 2
    _publish(faulty, 1)
    assert paused == [1]


def test_a_turn_that_was_cut_is_settled_by_the_next(broker: FaultyBroker) -> None:
    _publish(broker, 2)
    broker.enlist("n/1", [QUEUE])
    consumer = broker.consumer("n/1", [QUEUE])
    deliveries = _turn(consumer, [], 2).deliveries
    broker.plan = Scripted(turn=[Fault.CUT])
    with pytest.raises(OperationalError):
        _turn(consumer, [Settlement(deliveries[0])], 0)
    assert broker.count([QUEUE])[QUEUE].in_flight == 2
    assert _turn(consumer, [Settlement(deliveries[1])], 0).refused == ()
    assert broker.count([QUEUE])[QUEUE] == Counts()


def test_a_lost_answer_is_handed_out_by_the_next(broker: FaultyBroker) -> None:
    _publish(broker, 3)
    broker.enlist("n/1", [QUEUE])
    consumer = broker.consumer("n/1", [QUEUE])
    broker.plan = Scripted(turn=[Fault.LOST])
    with pytest.raises(OperationalError):
        _turn(consumer, [], 2)
    assert len(_turn(consumer, [], 2).deliveries) == 2
    assert len(_turn(consumer, [], 2).deliveries) == 1


def test_a_seed_repeats_itself() -> None:
    one, two = Seeded(7, 0.5), Seeded(7, 0.5)
    drawn = [one("turn") for _ in range(100)]
    assert drawn == [two("turn") for _ in range(100)]
    assert 20 < sum(fault is not Fault.NONE for fault in drawn) < 80


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_or_doubled_in_turns(broker: FaultyBroker, seed: int) -> None:
    _publish(broker, 200)
    broker.enlist("n/1", [QUEUE])
    consumer = broker.consumer("n/1", [QUEUE])
    broker.plan = Seeded(seed, 0.3, [Fault.CUT, Fault.LOST, Fault.DELAYED])
    seen: list[bytes] = []
    done: list[Settlement] = []
    while len(seen) < 200:
        try:
            turn = _turn(consumer, done, 7)
        except OperationalError:
            done = []
            continue
        assert turn.refused == ()
        seen += [delivery.payload for delivery in turn.deliveries]
        done = [Settlement(delivery) for delivery in turn.deliveries]
    broker.plan = Scripted()
    _turn(consumer, done, 0)
    assert len(set(seen)) == 200
    assert broker.count([QUEUE])[QUEUE] == Counts()
