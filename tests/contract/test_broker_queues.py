"""The broker port: publishing, reserving, settling. One suite for every engine."""

from __future__ import annotations

import time

import pytest

from celeriac.brokers.base import Counts, Outgoing, Settlement, Shelf, Verdict
from celeriac.errors import FencedError
from celeriac.wire import envelope
from tests.contract.engines import (
    QUEUE,
    Engine,
    closing,
    document,
    gather,
    join_queue,
    message,
    outgoing,
    publish,
    record,
    requeue,
    settle,
    take,
    text_of,
    texts,
    turn,
)

# -- publishing and reserving ---------------------------------------------------------------------------------------


def test_what_was_published_is_delivered_in_order_byte_for_byte(engine: Engine) -> None:
    broker = engine.broker()
    sent = message("ä 中", reply_to="somewhere")
    broker.publish([Outgoing(QUEUE, sent), *(outgoing(str(number)) for number in range(20))])
    waiting = broker.peek(QUEUE, 100)
    deliveries = take(join_queue(broker, "n/1"), 100)
    assert [delivery.payload for delivery in deliveries] == waiting
    assert texts(deliveries[1:]) == [str(number) for number in range(20)]
    received = envelope.decode(deliveries[0].payload)
    assert received.body == sent.body
    assert received.headers == sent.headers
    assert received.properties["reply_to"] == "somewhere"
    assert {(d.queue, d.strikes, d.shelf) for d in deliveries} == {(QUEUE, 0, Shelf.READY)}


def test_another_opener_sees_the_same_queues(engine: Engine) -> None:
    publish(engine.broker(), "a")
    assert texts(take(join_queue(engine.broker(), "n/1"))) == ["a"]


def test_publishing_nothing_does_nothing(engine: Engine) -> None:
    broker = engine.broker()
    broker.publish([])
    assert broker.count([QUEUE]) == {QUEUE: Counts()}


def test_a_large_batch_arrives_whole_and_in_order(engine: Engine) -> None:
    broker = engine.broker()
    names = [str(number) for number in range(broker.capabilities.largest_batch)]
    publish(broker, *names)
    consumer, seen = join_queue(broker, "n/1"), []
    while deliveries := take(consumer, 300):
        seen += texts(deliveries)
        settle(consumer, *map(Settlement, deliveries))
    assert seen == names


def test_one_message_of_a_megabyte(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "x" * 1_000_000)
    (delivery,) = take(join_queue(broker, "n/1"))
    assert len(text_of(delivery.payload)) == 1_000_000


def test_each_message_goes_to_one_consumer(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a", "b", "c")
    one, two = join_queue(broker, "n/1"), join_queue(broker, "n/2")
    assert texts(take(one, 2)) == ["a", "b"]
    assert texts(take(two, 2)) == ["c"]
    assert take(one) == take(two) == []


def test_the_limit_holds_and_zero_reserves_nothing(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abc")
    consumer = join_queue(broker, "n/1")
    assert take(consumer, 0) == []
    assert texts(take(consumer, 2)) == ["a", "b"]


def test_max_bytes_bounds_what_is_reserved_but_never_keeps_the_first_back(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a" * 1000, "b" * 1000, "c" * 1000)
    size = len(broker.peek(QUEUE, 1)[0])
    consumer = join_queue(broker, "n/1")
    assert len(take(consumer, 10, max_bytes=1)) == 1
    assert len(take(consumer, 10, max_bytes=2 * size + 100)) == 2


def test_receipts_grow_over_the_turns_of_a_consumer(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abcd")
    consumer = join_queue(broker, "n/1")
    receipts = [delivery.receipt for _ in range(2) for delivery in take(consumer, 2)]
    assert receipts == sorted(set(receipts))
    assert len(receipts) == 4


def test_lower_priorities_numbers_go_first_and_none_means_zero(engine: Engine) -> None:
    broker = engine.broker()
    for priority in (9, 6, 3, 0, None):
        publish(broker, f"{priority}-a", f"{priority}-b", priority=priority)
    expected = ["0-a", "0-b", "None-a", "None-b", "3-a", "3-b", "6-a", "6-b", "9-a", "9-b"]
    assert [text_of(payload) for payload in broker.peek(QUEUE)] == expected
    assert texts(take(join_queue(broker, "n/1"), 20)) == expected


def test_priority_counts_before_the_order_of_queues(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "later", queue="one", priority=6)
    publish(broker, "first", queue="two", priority=0)
    consumer = join_queue(broker, "n/1", ["one", "two"])
    assert texts(take(consumer, 1)) == ["first"]
    assert texts(take(consumer, 1)) == ["later"]


def test_queues_are_served_in_rotation(engine: Engine) -> None:
    broker = engine.broker()
    queues = ["one", "two", "three"]
    for queue in queues:
        publish(broker, *(f"{queue}-{number}" for number in range(30)), queue=queue)
    consumer = join_queue(broker, "n/1", queues)
    served = [take(consumer, 1)[0].queue for _ in range(9)]
    assert [served.count(queue) for queue in queues] == [3, 3, 3]
    batches = [delivery for _ in range(3) for delivery in take(consumer, 10)]
    assert {delivery.queue for delivery in batches} == set(queues)
    for queue in queues:
        mine = [text for text in texts(batches) if text.startswith(f"{queue}-")]
        assert mine == [f"{queue}-{number}" for number in range(3, 3 + len(mine))]


def test_a_queue_with_an_awkward_name(engine: Engine) -> None:
    broker = engine.broker()
    name = "a {b}:c'd\"é%/*?[x]"
    broker.declare([name])
    publish(broker, "x", queue=name)
    consumer = join_queue(broker, "n{o}de:1%/2*?[x]", [name])
    (delivery,) = take(consumer)
    assert delivery.queue == name
    settle(consumer, Settlement(delivery))
    assert broker.count([name]) == {name: Counts()}


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_done_is_gone(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a", "b")
    consumer = join_queue(broker, "n/1")
    first, second = take(consumer)
    assert broker.count([QUEUE])[QUEUE] == Counts(in_flight=2)
    answer = settle(consumer, Settlement(first), Settlement(second))
    assert answer.refused == ()
    assert broker.count([QUEUE])[QUEUE] == Counts()


def test_one_call_settles_and_then_reserves(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a", "b")
    consumer = join_queue(broker, "n/1")
    (first,) = take(consumer, 1)
    assert texts(turn(consumer, [requeue(first)], 1).deliveries) == ["a"]
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=1, in_flight=1)


def test_a_requeued_message_is_taken_next(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a", "b", "c")
    consumer = join_queue(broker, "n/1")
    first, second = take(consumer, 2)
    settle(consumer, requeue(first), Settlement(second))
    again, last = take(consumer)
    assert texts([again, last]) == ["a", "c"]
    assert again.payload == first.payload
    assert again.receipt > second.receipt


def test_a_requeued_message_keeps_its_priority(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "low", "low2", priority=9)
    consumer = join_queue(broker, "n/1")
    (low,) = take(consumer, 1)
    publish(broker, "high", priority=0)
    settle(consumer, requeue(low))
    assert texts(take(consumer)) == ["high", "low", "low2"]


def test_put_off_is_not_delivered_before_it_is_due(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a", "b")
    consumer = join_queue(broker, "n/1")
    answer = turn(consumer, (), 1)
    (first,) = answer.deliveries
    due = answer.now + 3600
    settle(consumer, Settlement(first, Verdict.PUT_OFF, due=due))
    assert texts(take(consumer)) == ["b"]
    assert broker.count([QUEUE])[QUEUE] == Counts(delayed=1, in_flight=1)
    ((when, payload),) = broker.delayed(QUEUE)
    assert when == pytest.approx(due, abs=0.01)
    assert payload == first.payload
    moved, seconds = broker.promote([QUEUE])
    assert moved == 0
    assert seconds == pytest.approx(3600, abs=60)
    assert take(consumer) == []


def test_promote_moves_what_is_due_by_the_servers_clock(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abc")
    consumer = join_queue(broker, "n/1")
    answer = turn(consumer, (), 3)
    soon = answer.now + 0.05
    settle(consumer, *(Settlement(d, Verdict.PUT_OFF, due=soon + n / 1000) for n, d in enumerate(answer.deliveries)))
    moved = 0
    while moved < 3:
        more, seconds = broker.promote([QUEUE])
        moved += more
        assert seconds is None or seconds >= 0
        assert not more or turn(consumer).now >= soon
    assert broker.promote([QUEUE]) == (0, None)
    assert texts(take(consumer)) == ["a", "b", "c"]


def test_promote_keeps_to_its_limit(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abc")
    consumer = join_queue(broker, "n/1")
    settle(consumer, *(Settlement(delivery, Verdict.PUT_OFF, due=1.0) for delivery in take(consumer)))
    assert [broker.promote([QUEUE], 2)[0] for _ in range(3)] == [2, 1, 0]


def test_put_off_keeps_the_priority(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "low", priority=9)
    consumer = join_queue(broker, "n/1")
    settle(consumer, Settlement(take(consumer)[0], Verdict.PUT_OFF, due=1.0))
    broker.promote([QUEUE])
    publish(broker, "high", priority=0)
    assert texts(take(consumer)) == ["high", "low"]


def test_a_message_published_with_a_due_time(engine: Engine) -> None:
    broker = engine.broker()
    broker.publish([outgoing("later", due=time.time() + 3600), outgoing("past", due=1.0), outgoing("now")])
    if not broker.capabilities.native_delay:
        assert len(take(join_queue(broker, "n/1"))) == 3
        return
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=1, delayed=2)
    assert broker.promote([QUEUE])[0] == 1
    assert texts(take(join_queue(broker, "n/1"))) == ["now", "past"]


def test_release_hands_all_delayed_messages_back(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abc")
    consumer = join_queue(broker, "n/1")
    deliveries = take(consumer)
    settle(consumer, *(Settlement(d, Verdict.PUT_OFF, due=4e9 - n) for n, d in enumerate(deliveries)))
    assert [text_of(payload) for _, payload in broker.delayed(QUEUE, 2)] == ["c", "b"]
    assert broker.release(QUEUE) == 3
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=3)
    assert {delivery.payload for delivery in take(consumer)} == {delivery.payload for delivery in deliveries}


def test_follow_ups_are_published_with_the_settlement(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a")
    consumer = join_queue(broker, "n/1")
    (delivery,) = take(consumer)
    settle(consumer, Settlement(delivery, follow_ups=(outgoing("next"), outgoing("other", "aside"))))
    assert texts(take(consumer)) == ["next"]
    assert texts(take(join_queue(broker, "n/2", ["aside"]))) == ["other"]


def test_a_settlement_without_a_delivery_only_publishes(engine: Engine) -> None:
    broker = engine.broker()
    consumer = join_queue(broker, "n/1")
    assert settle(consumer, Settlement(None, follow_ups=(outgoing("next"),))).refused == ()
    assert texts(take(consumer)) == ["next"]


# -- refusal and fencing ----------------------------------------------------------------------------------------------


def test_settling_what_is_not_held_is_refused_and_does_nothing(engine: Engine) -> None:
    broker, backend = engine.joined()
    publish(broker, "a", "b")
    consumer = join_queue(broker, "n/1")
    lost, kept = take(consumer)
    broker.give_back("n/1", [QUEUE], lost.receipt - 1)
    (again,) = take(consumer, 1)
    answer = settle(
        consumer,
        Settlement(lost, record=record("lost", b"x"), follow_ups=(outgoing("never"),)),
        Settlement(kept),
        Settlement(again, record=record("again", b"y")),
    )
    assert set(answer.refused) == {lost.receipt, kept.receipt}
    assert backend.get_many(["lost", "again"]) == {"again": b"y"}
    assert texts(take(consumer)) == ["b"]


def test_a_delivery_settles_once(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a")
    consumer = join_queue(broker, "n/1")
    (delivery,) = take(consumer)
    assert settle(consumer, requeue(delivery)).refused == ()
    assert settle(consumer, Settlement(delivery)).refused == (delivery.receipt,)
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=1)


def test_another_consumers_delivery_cannot_be_settled(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a", "b")
    one, two = join_queue(broker, "n/1"), join_queue(broker, "n/2")
    (mine,), (other,) = take(one, 1), take(two, 1)
    assert settle(one, Settlement(mine)).refused == ()
    broker.give_back("n/2", [QUEUE], 0)
    assert settle(two, Settlement(other)).refused == (other.receipt,)


def test_without_a_lease_nothing_is_reserved_or_settled(engine: Engine) -> None:
    broker, backend = engine.joined()
    publish(broker, "a")
    stranger = closing(broker.consumer("n/1", [QUEUE]))
    with pytest.raises(FencedError):
        take(stranger)
    consumer = join_queue(broker, "n/1")
    (delivery,) = take(consumer)
    broker.recover("n/1", [QUEUE], _enlisted(engine, "n/2"))
    with pytest.raises(FencedError):
        settle(consumer, Settlement(delivery, record=record("a", b"x"), follow_ups=(outgoing("never"),)))
    with pytest.raises(FencedError):
        take(consumer)
    assert backend.get_many(["a"]) == {}
    assert broker.count([QUEUE])[QUEUE] == Counts(in_flight=1)


def test_losing_the_lease_of_one_queue_fences_the_consumer(engine: Engine) -> None:
    broker = engine.broker()
    consumer = join_queue(broker, "n/1", ["one", "two"])
    publish(broker, "a", queue="two")
    broker.enlist("n/2", ["one", "two"])
    broker.recover("n/1", ["one"], "n/2")
    with pytest.raises(FencedError):
        take(consumer)


def _enlisted(engine: Engine, name: str) -> str:
    engine.broker().enlist(name, [QUEUE])
    return name


# -- results in the same step -----------------------------------------------------------------------------------------


def test_a_joined_settlement_stores_its_record(engine: Engine) -> None:
    broker, backend = engine.joined()
    publish(broker, "a")
    consumer = join_queue(broker, "n/1")
    (delivery,) = take(consumer)
    watch = closing(backend.watch())
    watch.add(["a", "early"])
    settle(consumer, Settlement(delivery, record=record("a", b"done")), Settlement(None, record=record("early", b"e")))
    assert backend.get_many(["a", "early", "none"]) == {"a": b"done", "early": b"e"}
    assert gather(watch, 2) == {"a": b"done", "early": b"e"}


def test_a_joined_record_on_the_way_does_not_replace_a_final_one(engine: Engine) -> None:
    broker, backend = engine.joined()
    consumer = join_queue(broker, "n/1")
    started, done = document("STARTED"), document("FAILURE")
    settle(consumer, Settlement(None, record=record("a", started, final=False)))
    assert backend.get_many(["a"]) == {"a": started}
    settle(
        consumer,
        Settlement(None, record=record("a", done)),
        Settlement(None, record=record("a", started, final=False)),
        Settlement(None, record=record("b", started, final=False)),
    )
    assert backend.get_many(["a", "b"]) == {"a": done, "b": started}


def test_not_joined_records_are_ignored(engine: Engine) -> None:
    broker, elsewhere = engine.broker(), engine.backend(engine.elsewhere)
    assert not broker.join(elsewhere.identity, elsewhere.location)
    assert not broker.join(("nowhere", None), {})
    consumer = join_queue(broker, "n/1")
    settle(consumer, Settlement(None, record=record("a", b"x")))
    assert elsewhere.get_many(["a"]) == {}
    assert engine.backend().get_many(["a"]) == {}
