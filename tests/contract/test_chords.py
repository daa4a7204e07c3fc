"""Members of chords are counted in the step that settles them, each once; whoever completes the set publishes, once."""

from __future__ import annotations

import json
import threading
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery
from celeriac.backends.base import Counting
from celeriac.brokers.base import Broker, Consumer, Member, Outgoing, Settlement, Verdict
from celeriac.errors import ChordError, FencedError
from tests.contract.engines import (
    QUEUE,
    Engine,
    document,
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
from tests.processes import until


def joined(engine: Engine) -> tuple[Broker, Any]:
    broker, backend = engine.joined()
    assert isinstance(backend, Counting)
    return broker, backend


def member(group_id: str, task_id: str, index: int = 0, result: str = "") -> Member:
    fire = Outgoing(QUEUE, message(f"fire {group_id}"))
    return Member(group_id, task_id, index, document("SUCCESS", result), fire)


def results(backend: Any, group_id: str) -> list[tuple[str, int, str]]:
    return [(part.task_id, part.index, json.loads(part.document)["result"]) for part in backend.parts(group_id)]


def count(consumer: Consumer, *members: Member) -> None:
    """Of deliveries that were acknowledged before."""
    settle(consumer, *(Settlement(None, members=(each,)) for each in members))


def test_the_last_member_publishes_whatever_the_order(engine: Engine) -> None:
    broker, backend = joined(engine)
    consumer = join_queue(broker, "n/1")
    group_id = str(uuid4())
    ids = [str(uuid4()), "any text ä", "c" * 300]
    publish(broker, *ids)
    held = take(consumer)
    count(consumer, member(group_id, ids[2], 2, "third"))
    backend.begin_group(group_id, 3, 60)
    backend.begin_group(group_id, 3, 60)
    one = Settlement(
        held[1], record=record(ids[1], document("SUCCESS")), members=(member(group_id, ids[1], 1, "second"),)
    )
    assert not turn(consumer, [one], 5).deliveries
    also = record("never runs", document("FAILURE"))
    last = Settlement(held[0], members=(member(group_id, ids[0], 0, "first"),), also=(also,))
    assert texts(turn(consumer, [last], 5).deliveries) == [f"fire {group_id}"]
    assert results(backend, group_id) == [(ids[0], 0, "first"), (ids[1], 1, "second"), (ids[2], 2, "third")]
    assert set(backend.get_many([ids[1], "never runs"])) == {ids[1], "never runs"}
    assert engine.backend().parts(group_id) == backend.parts(group_id)  # type: ignore[attr-defined]


def test_counted_once_however_often_it_is_delivered(engine: Engine) -> None:
    broker, backend = joined(engine)
    consumer = join_queue(broker, "n/1")
    backend.begin_group("g", 2, 60)
    for result in ("first", "again"):
        count(consumer, member("g", "a", 0, result))
    assert results(backend, "g") == [("a", 0, "first")]
    assert not take(consumer)
    count(consumer, member("g", "b", 1), member("g", "b", 1))
    count(consumer, member("g", "a", 0), member("g", "b", 1))
    assert texts(take(consumer)) == ["fire g"]


def test_one_settlement_may_count_for_several_and_what_is_not_done_counts(engine: Engine) -> None:
    broker, backend = joined(engine)
    consumer = join_queue(broker, "n/1")
    publish(broker, "x", "y")
    dead, again = take(consumer)
    for group_id in ("g", "h"):
        backend.begin_group(group_id, 1, None)
    both = (member("g", "x"), member("h", "x"))
    settle(consumer, Settlement(dead, Verdict.DEAD, reason="lost", members=both), requeue(again))
    assert sorted(texts(take(consumer))) == ["fire g", "fire h", "y"]


def test_a_group_may_grow(engine: Engine) -> None:
    broker, backend = joined(engine)
    consumer = join_queue(broker, "n/1")
    backend.begin_group("g", 2, 60)
    count(consumer, member("g", "a", 0))
    backend.grow_group("g", 2)
    count(consumer, member("g", "b", 1), member("g", "c", 2))
    assert not take(consumer)
    count(consumer, member("g", "d", 3))
    assert texts(take(consumer)) == ["fire g"]


def test_it_is_forgotten_when_ended_or_expired(engine: Engine) -> None:
    broker, backend = joined(engine)
    consumer = join_queue(broker, "n/1")
    backend.begin_group("g", 2, 60)
    count(consumer, member("g", "a", 0))
    backend.end_group("g")
    backend.end_group("unknown")
    assert backend.parts("g") == backend.parts("unknown") == []
    count(consumer, member("g", "b", 1))
    assert not take(consumer)
    if engine.name == "memory":
        return  # it forgets when there are many
    backend.begin_group("soon", 2, 0.05)
    count(consumer, member("soon", "a", 0))
    until(lambda: not backend.parts("soon"), what="the group expires")
    backend.begin_group("soon", 2, 60)
    count(consumer, member("soon", "b", 1))
    assert results(backend, "soon") == [("b", 1, "")]
    assert not take(consumer)


def test_who_has_lost_the_delivery_counts_nothing(engine: Engine) -> None:
    broker, backend = joined(engine)
    first, second = join_queue(broker, "n/1"), join_queue(broker, "n/2")
    backend.begin_group("g", 1, 60)
    publish(broker, "a")
    (delivery,) = take(first)
    (moved,) = broker.recover("n/1", [QUEUE], "n/2")
    with pytest.raises(FencedError):
        settle(first, Settlement(delivery, members=(member("g", "a"),)))
    assert backend.parts("g") == []
    settle(second, Settlement(moved, members=(member("g", "a"),)))
    assert moved.receipt in turn(second, [Settlement(moved, members=(member("g", "b"),))]).refused
    assert [part.task_id for part in backend.parts("g")] == ["a"]
    assert texts(take(second)) == ["fire g"]


def test_what_it_publishes_is_a_message_like_others(engine: Engine) -> None:
    broker, backend = joined(engine)
    first, second = join_queue(broker, "n/1"), join_queue(broker, "n/2")
    backend.begin_group("g", 1, 60)
    publish(broker, "before")
    count(first, member("g", "a"))
    assert broker.count([QUEUE])[QUEUE].ready == 2
    assert sorted(text_of(payload) for payload in broker.peek(QUEUE)) == ["before", "fire g"]
    waiter = broker.waiter([QUEUE])
    assert waiter.arm() == 2
    waiter.close()
    for way in ("gives back", "requeues", "puts off", "dies", "buries"):
        fire = next(each for each in take(first) if text_of(each.payload) == "fire g")
        if way == "gives back":
            broker.give_back("n/1", [QUEUE], 0)
        elif way == "requeues":
            settle(first, requeue(fire))
        elif way == "puts off":
            settle(first, Settlement(fire, Verdict.PUT_OFF, due=1.0))
            assert broker.promote([QUEUE])[0] == 1
        elif way == "dies":
            moved = next(each for each in broker.recover("n/1", [QUEUE], "n/2") if text_of(each.payload) == "fire g")
            settle(second, requeue(moved))
            broker.give_back("n/2", [QUEUE], 0)
            broker.enlist("n/1", [QUEUE])
        else:
            settle(first, Settlement(fire, Verdict.DEAD, reason="lost"))
            (letter,) = broker.dead_letters([QUEUE])
            assert broker.requeue_dead(QUEUE, [letter.id])
        broker.give_back("n/1", [QUEUE], 0)
        assert broker.count([QUEUE])[QUEUE].ready == 2, way
    assert broker.purge([QUEUE]) == 2


def test_a_body_whose_results_are_gone_or_unreadable_ends_with_an_error(engine: Engine) -> None:
    _, backend = joined(engine)
    consumer = join_queue(engine.joined()[0], "n/1")
    fire = Outgoing(QUEUE, message("fire"))
    for group_id, data in (("read", document("SUCCESS", "x")), ("unreadable", b"unreadable")):
        backend.begin_group(group_id, 1, 60)
        count(consumer, Member(group_id, "a", 0, data, fire))
    with Celery("chords", broker=engine.url, backend=engine.url, set_as_current=False) as app:
        body = app.signature("of.another.worker")
        app.broker.join(app.backend.identity, app.backend.location)
        fires = app.tasks["celeriac.chord_body"]
        for group_id, error in (("gone", ChordError), ("unreadable", ChordError), ("read", type(None))):
            assert type(fires.apply((group_id, body)).result) is error, group_id


def test_four_that_settle_at_once_complete_it_once(engine: Engine) -> None:
    _, backend = joined(engine)
    groups = [str(uuid4()) for _ in range(10)]
    for group_id in groups:
        backend.begin_group(group_id, 12, 60)
    members = [member(group_id, f"{group_id}-{index}", index) for index in range(12) for group_id in groups]
    consumers = []
    for number in range(4):
        own, results_of_its_own = engine.joined()
        consumers.append((join_queue(own, f"n/{number}"), results_of_its_own))
    start = threading.Barrier(4)

    def work(number: int) -> None:
        start.wait(10)
        consumer = consumers[number][0]
        for at, each in enumerate(members):
            if at % 4 in (number, (number + 1) % 4):  # each member by two of them
                settle(consumer, Settlement(None, members=(each,)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(texts(take(consumers[0][0], 100))) == sorted(f"fire {group_id}" for group_id in groups)
    assert all(len(backend.parts(group_id)) == 12 for group_id in groups)


def test_a_broker_elsewhere_counts_nothing(engine: Engine) -> None:
    broker, backend = engine.broker(engine.elsewhere), engine.backend()
    assert not broker.join(backend.identity, backend.location)
    consumer = join_queue(broker, "n/1")
    backend.begin_group("g", 1, 60)  # type: ignore[attr-defined]
    broker.publish([outgoing("x")])
    count(consumer, member("g", "a"))
    assert texts(take(consumer)) == ["x"]
    assert backend.parts("g") == []  # type: ignore[attr-defined]
