"""The broker port: leases, recovery, shelves, waiting, looking and tidying. One suite for every engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from celeriac.brokers.base import Counts, Delivery, Settlement, Shelf, Verdict
from celeriac.brokers.registry import open_broker
from celeriac.errors import FencedError
from tests.contract.engines import (
    QUEUE,
    Engine,
    closing,
    join_queue,
    outgoing,
    publish,
    requeue,
    settle,
    take,
    text_of,
    texts,
    turn,
)
from tests.processes import until

# -- leases -----------------------------------------------------------------------------------------------------------


def test_a_lease_is_a_counter_that_renewal_makes_grow(engine: Engine) -> None:
    broker = engine.broker()
    assert broker.leases([QUEUE]) == {}
    broker.enlist("n/1", [QUEUE])
    broker.enlist("n/2", [QUEUE])
    before = dict(broker.leases([QUEUE]))
    assert set(before) == {"n/1", "n/2"}
    assert broker.renew(["n/1"], [QUEUE]) == []
    after = engine.broker().leases([QUEUE])
    assert after["n/1"] > before["n/1"]
    assert after["n/2"] == before["n/2"]


def test_enlisting_twice_keeps_the_lease(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a")
    consumer = join_queue(broker, "n/1")
    (delivery,) = take(consumer)
    broker.enlist("n/1", [QUEUE])
    assert settle(consumer, Settlement(delivery)).refused == ()


def test_the_counter_is_the_sum_over_the_queues_asked_for(engine: Engine) -> None:
    broker = engine.broker()
    broker.enlist("n/1", ["one", "two"])
    broker.renew(["n/1"], ["one", "two"])
    both, one, two = (broker.leases(queues)["n/1"] for queues in (["one", "two"], ["one"], ["two"]))
    assert both == one + two
    assert "n/1" not in broker.leases(["three"])


def test_renewing_names_those_whose_lease_is_gone(engine: Engine) -> None:
    broker = engine.broker()
    broker.enlist("n/1", [QUEUE])
    broker.enlist("n/2", [QUEUE])
    broker.dismiss("n/1", [QUEUE])
    assert broker.renew(["n/1", "n/2", "n/3"], [QUEUE]) == ["n/1", "n/3"]
    assert set(broker.leases([QUEUE])) == {"n/2"}


def test_losing_one_queue_of_two_is_a_lease_that_is_gone(engine: Engine) -> None:
    broker = engine.broker()
    broker.enlist("n/1", ["one", "two"])
    broker.enlist("n/2", ["one"])
    broker.recover("n/1", ["one"], "n/2")
    assert broker.renew(["n/1"], ["one", "two"]) == ["n/1"]


# -- recovery ---------------------------------------------------------------------------------------------------------


def test_recover_moves_what_the_dead_held_and_fences_it(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abc")
    dead, heir = join_queue(broker, "n/1"), join_queue(broker, "n/2")
    held = take(dead, 2)
    moved = broker.recover("n/1", [QUEUE], "n/2")
    assert texts(moved) == ["a", "b"]
    assert [delivery.payload for delivery in moved] == [delivery.payload for delivery in held]
    assert [delivery.was for delivery in moved] == [delivery.receipt for delivery in held]
    assert [delivery.strikes for delivery in moved] == [0, 0]
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=1, in_flight=2)
    assert set(broker.leases([QUEUE])) == {"n/2"}
    with pytest.raises(FencedError):
        settle(dead, *map(Settlement, held))
    later = take(heir)
    assert later[0].receipt > moved[-1].receipt
    assert settle(heir, *map(Settlement, [*moved, *later])).refused == ()
    assert broker.count([QUEUE])[QUEUE] == Counts()


def test_recover_works_over_several_queues(engine: Engine) -> None:
    broker = engine.broker()
    queues = ["one", "two"]
    for queue in queues:
        publish(broker, queue, queue=queue)
    take(join_queue(broker, "n/1", queues))
    broker.enlist("n/2", queues)
    assert sorted(texts(broker.recover("n/1", queues, "n/2"))) == queues


def test_recover_with_a_counter_leaves_a_lease_that_moved_on(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a")
    consumer = join_queue(broker, "n/1")
    broker.enlist("n/2", [QUEUE])
    (delivery,) = take(consumer)
    seen = broker.leases([QUEUE])["n/1"]
    broker.renew(["n/1"], [QUEUE])
    assert broker.recover("n/1", [QUEUE], "n/2", seen) == []
    assert settle(consumer, requeue(delivery)).refused == ()
    assert texts(take(consumer)) == ["a"]
    assert texts(broker.recover("n/1", [QUEUE], "n/2", broker.leases([QUEUE])["n/1"])) == ["a"]


def test_recover_of_nobody_moves_nothing(engine: Engine) -> None:
    broker = engine.broker()
    broker.enlist("n/2", [QUEUE])
    assert broker.recover("n/9", [QUEUE], "n/2") == []
    assert broker.recover("n/9", [QUEUE], "n/2", 1) == []


def test_of_two_that_recover_one_gets_it(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a")
    take(join_queue(broker, "n/1"))
    for heir in ("n/2", "n/3"):
        broker.enlist(heir, [QUEUE])
    counter = broker.leases([QUEUE])["n/1"]
    moved = [broker.recover("n/1", [QUEUE], heir, counter) for heir in ("n/2", "n/3")]
    assert [len(deliveries) for deliveries in moved] == [1, 0]


def test_recover_needs_an_heir_with_a_lease(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a")
    take(join_queue(broker, "n/1"))
    with pytest.raises(FencedError):
        broker.recover("n/1", [QUEUE], "n/2")
    assert broker.count([QUEUE])[QUEUE] == Counts(in_flight=1)


# -- giving back ------------------------------------------------------------------------------------------------------


def test_give_back_returns_what_is_above_a_receipt_to_be_taken_next_in_its_order(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abcde")
    consumer = join_queue(broker, "n/1")
    first, *others = take(consumer, 4)
    highest = broker.give_back("n/1", [QUEUE], first.receipt)
    assert highest >= others[-1].receipt
    assert settle(consumer, *map(Settlement, others)).refused == tuple(delivery.receipt for delivery in others)
    assert broker.give_back("n/1", [QUEUE], first.receipt) >= highest
    again = take(consumer)
    assert texts(again) == ["b", "c", "d", "e"]
    assert {delivery.strikes for delivery in again} == {0}
    assert all(delivery.receipt > highest for delivery in again)
    assert settle(consumer, Settlement(first)).refused == ()


def test_what_was_given_back_goes_to_others(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"ab")
    take(join_queue(broker, "n/1"))
    engine.broker().give_back("n/1", [QUEUE], 0)
    assert texts(take(join_queue(broker, "n/2"))) == ["a", "b"]


def test_dismiss_ends_the_lease_and_leaves_nothing_behind(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"ab")
    consumer = join_queue(broker, "n/1")
    take(consumer, 1)
    broker.dismiss("n/1", [QUEUE])
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=2)
    assert broker.leases([QUEUE]) == {}
    with pytest.raises(FencedError):
        take(consumer)
    assert texts(take(join_queue(broker, "n/2"))) == ["a", "b"]
    broker.dismiss("n/1", [QUEUE])


# -- shelves ----------------------------------------------------------------------------------------------------------


def _suspects(engine: Engine, *names: str, shelf: Shelf = Shelf.SUSPECT, strikes: int = 1) -> None:
    broker = engine.broker()
    publish(broker, *names)
    consumer = join_queue(broker, "setup/1")
    settle(consumer, *(requeue(delivery, shelf=shelf, strikes=strikes) for delivery in take(consumer, 100)))
    broker.dismiss("setup/1", [QUEUE])


def test_a_suspect_goes_first_and_alone(engine: Engine) -> None:
    _suspects(engine, "s1", "s2")
    broker = engine.broker()
    publish(broker, "a", "b")
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=2, suspects=2)
    consumer = join_queue(broker, "n/1")
    answer = turn(consumer, (), 10)
    (suspect,) = answer.deliveries
    assert (suspect.shelf, suspect.strikes, text_of(suspect.payload)) == (Shelf.SUSPECT, 1, "s1")
    assert take(consumer) == []  # nothing beside it
    (other,) = turn(consumer, [Settlement(suspect)], 10).deliveries
    assert texts([other]) == ["s2"]
    assert texts(turn(consumer, [Settlement(other)], 10).deliveries) == ["a", "b"]


def test_suspects_wait_for_a_consumer_that_holds_nothing(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a")
    consumer = join_queue(broker, "n/1")
    (held,) = take(consumer)
    _suspects(engine, "s")
    answer = turn(consumer, (), 10)
    assert answer.suspects
    assert answer.deliveries == []
    answer = turn(consumer, [Settlement(held)], 10)
    assert texts(answer.deliveries) == ["s"]
    answer = turn(consumer, [Settlement(answer.deliveries[0])], 10)
    assert not answer.suspects


def test_suspects_go_to_several_consumers_one_each(engine: Engine) -> None:
    _suspects(engine, "s1", "s2")
    broker = engine.broker()
    assert texts(take(join_queue(broker, "n/1"))) == ["s1"]
    assert texts(take(join_queue(broker, "n/2"))) == ["s2"]


def test_a_suspect_given_back_or_recovered_stays_one(engine: Engine) -> None:
    _suspects(engine, "s", strikes=2)
    broker = engine.broker()
    take(join_queue(broker, "n/1"))
    broker.give_back("n/1", [QUEUE], 0)
    assert broker.count([QUEUE])[QUEUE] == Counts(suspects=1)
    take(join_queue(broker, "n/2"))
    broker.enlist("n/3", [QUEUE])
    (moved,) = broker.recover("n/2", [QUEUE], "n/3")
    assert (moved.shelf, moved.strikes) == (Shelf.SUSPECT, 2)
    broker.dismiss("n/3", [QUEUE])
    assert broker.count([QUEUE])[QUEUE] == Counts(suspects=1)


def test_quarantined_messages_are_reserved_only_by_asking_and_alone(engine: Engine) -> None:
    _suspects(engine, "q1", "q2", shelf=Shelf.QUARANTINE, strikes=2)
    broker = engine.broker()
    publish(broker, "a")
    consumer = join_queue(broker, "n/1")
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=1, quarantined=2)
    assert broker.quarantined([QUEUE]) == 2
    (ready,) = take(consumer)
    assert texts([ready]) == ["a"]
    assert take(consumer, shelf=Shelf.QUARANTINE) == []
    (quarantined,) = turn(consumer, [Settlement(ready)], 5, shelf=Shelf.QUARANTINE).deliveries
    assert (quarantined.shelf, quarantined.strikes) == (Shelf.QUARANTINE, 2)
    publish(broker, "b")
    assert take(consumer) == []
    assert settle(consumer, Settlement(quarantined)).refused == ()
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=1, quarantined=1)


# -- waiting ----------------------------------------------------------------------------------------------------------


def test_a_waiter_says_what_can_be_reserved_and_wakes_for_what_comes_after(engine: Engine) -> None:
    broker, elsewhere = engine.broker(), engine.broker()
    waiter = closing(broker.waiter(["one", "two"]))
    assert waiter.arm() == 0
    assert not waiter.wait(0.01)
    publish(elsewhere, "a", queue="two")
    assert waiter.wait(5)
    assert waiter.arm() >= 1
    take(join_queue(broker, "n/1", ["two"]))
    assert waiter.arm() == 0


def test_a_waiter_wakes_a_thread(engine: Engine) -> None:
    broker = engine.broker()
    waiter = closing(broker.waiter([QUEUE]))
    waiter.arm()
    woken: list[tuple[bool, float]] = []
    thread = threading.Thread(target=lambda: woken.append((waiter.wait(20), time.monotonic())))
    thread.start()
    published = time.monotonic()
    publish(engine.broker(), "a")
    thread.join(20)
    ((heard, when),) = woken
    assert heard
    assert when - published < 0.5


@pytest.mark.parametrize("how", ["requeued", "given back", "promoted", "follow-up", "dead letter", "dismissed"])
def test_a_waiter_wakes_for_whatever_makes_a_message_ready(engine: Engine, how: str) -> None:
    broker = engine.broker()
    publish(broker, "a")
    consumer = join_queue(broker, "n/1")
    (delivery,) = take(consumer)
    if how == "promoted":
        settle(consumer, Settlement(delivery, Verdict.PUT_OFF, due=1.0))
    if how == "dead letter":
        settle(consumer, Settlement(delivery, Verdict.DEAD, reason="lost"))
    waiter = closing(broker.waiter([QUEUE]))
    assert waiter.arm() == 0
    actions: dict[str, Callable[[], object]] = {
        "requeued": lambda: settle(consumer, requeue(delivery)),
        "given back": lambda: broker.give_back("n/1", [QUEUE], 0),
        "promoted": lambda: broker.promote([QUEUE]),
        "follow-up": lambda: settle(consumer, Settlement(delivery, follow_ups=(outgoing("b"),))),
        "dead letter": lambda: broker.requeue_dead(QUEUE, [broker.dead_letters([QUEUE])[0].id]),
        "dismissed": lambda: broker.dismiss("n/1", [QUEUE]),
    }
    actions[how]()
    assert waiter.wait(5)
    assert waiter.arm() == 1


def test_suspects_count_for_a_waiter_and_quarantined_messages_do_not(engine: Engine) -> None:
    waiter = closing(engine.broker().waiter([QUEUE]))
    _suspects(engine, "q", shelf=Shelf.QUARANTINE)
    assert waiter.arm() == 0
    _suspects(engine, "s")
    assert waiter.arm() >= 1


def test_interrupt_ends_a_wait_at_once_from_any_thread(engine: Engine) -> None:
    waiter = closing(engine.broker().waiter([QUEUE]))
    waiter.arm()
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(waiter.wait(60)))
    thread.start()
    waiter.interrupt()
    thread.join(10)
    assert ended == [False]


# -- looking and tidying ----------------------------------------------------------------------------------------------


def test_counts_of_several_queues(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abcd", queue="one")
    consumer = join_queue(broker, "n/1", ["one"])
    late, dead, _ = take(consumer, 3)
    settle(consumer, Settlement(late, Verdict.PUT_OFF, due=4e9), Settlement(dead, Verdict.DEAD, reason="lost"))
    counts = broker.count(["one", "two"])
    assert counts == {"one": Counts(ready=1, delayed=1, in_flight=1, dead=1), "two": Counts()}


def test_purge_deletes_what_waits_and_nothing_else(engine: Engine) -> None:
    _suspects(engine, "s")
    _suspects(engine, "q", shelf=Shelf.QUARANTINE)
    broker = engine.broker()
    publish(broker, *"abc", queue="other")
    consumer = join_queue(broker, "n/1")
    (suspect,) = take(consumer)
    settle(consumer, requeue(suspect, shelf=Shelf.SUSPECT))
    quarantined = take(consumer, shelf=Shelf.QUARANTINE)
    publish(broker, *"abcde", priority=9)
    settle(consumer, requeue(quarantined[0], shelf=Shelf.QUARANTINE))
    one, two = join_queue(broker, "n/2"), join_queue(broker, "n/3")
    take(one)
    delayed, dead, kept = take(two, 3)
    settle(two, Settlement(delayed, Verdict.PUT_OFF, due=4e9), Settlement(dead, Verdict.DEAD, reason="lost"))
    before = broker.count([QUEUE])[QUEUE]
    waiting = before.ready + before.delayed + before.suspects + before.quarantined
    assert (before.delayed, before.quarantined, waiting) == (1, 1, 4)
    assert broker.purge([QUEUE]) == waiting
    assert broker.count([QUEUE])[QUEUE] == Counts(in_flight=before.in_flight, dead=1)
    assert settle(two, Settlement(kept)).refused == ()
    assert broker.count(["other"])["other"] == Counts(ready=3)
    assert broker.purge([QUEUE]) == 0


def test_peek_shows_what_is_taken_next_and_takes_nothing(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "low", priority=9)
    publish(broker, *"abc")
    assert [text_of(payload) for payload in broker.peek(QUEUE, 2)] == ["a", "b"]
    assert [text_of(payload) for payload in broker.peek(QUEUE)] == ["a", "b", "c", "low"]
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=4)
    assert broker.peek("nothing") == []


def _dead(delivery: Delivery, **facts: Any) -> Settlement:
    return Settlement(delivery, Verdict.DEAD, **facts)


def test_dead_letters_keep_their_bytes_and_say_why(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, *"abc")
    consumer = join_queue(broker, "n/1")
    answer = turn(consumer, (), 10)
    for delivery in answer.deliveries:
        name = text_of(delivery.payload)
        facts = {"detail": f"no {name} 中", "task": f"tasks.{name}", "task_id": f"id-{name}"}
        settle(consumer, _dead(delivery, reason="unregistered", **facts))
    letters = broker.dead_letters([QUEUE])
    assert [letter.task for letter in letters] == ["tasks.c", "tasks.b", "tasks.a"]
    newest = letters[0]
    assert newest.payload == answer.deliveries[2].payload
    assert (newest.queue, newest.reason, newest.detail, newest.task_id) == (QUEUE, "unregistered", "no c 中", "id-c")
    assert newest.since == pytest.approx(answer.now, abs=60)
    assert len({letter.id for letter in letters}) == 3
    assert broker.dead_letters([QUEUE], 1) == [newest]
    assert broker.count([QUEUE])[QUEUE] == Counts(dead=3)
    assert broker.dead_letters(["other"]) == []


def test_dead_letters_are_sent_again_as_they_were(engine: Engine) -> None:
    broker = engine.broker()
    _suspects(engine, "a", strikes=3)
    consumer = join_queue(broker, "n/1")
    (delivery,) = take(consumer)
    settle(consumer, Settlement(delivery, Verdict.DEAD, reason="lost", strikes=3))
    (letter,) = broker.dead_letters([QUEUE])
    assert letter.strikes == 3
    assert broker.requeue_dead("other", [letter.id]) == []
    assert broker.requeue_dead(QUEUE, [letter.id, letter.id, "unknown", "999999"]) == [letter.id]
    assert broker.requeue_dead(QUEUE, [letter.id]) == []
    assert broker.dead_letters([QUEUE]) == []
    (again,) = take(consumer)
    assert (again.payload, again.strikes, again.shelf) == (delivery.payload, 0, Shelf.READY)


# -- life and threads -------------------------------------------------------------------------------------------------


def test_close_is_safe_twice_and_unopened(engine: Engine) -> None:
    broker = open_broker(engine.url)
    broker.close()
    broker.open()
    broker.open()
    broker.declare([QUEUE])
    broker.declare([QUEUE])
    broker.close()
    broker.close()


def test_it_connects_at_first_use(engine: Engine) -> None:
    broker = closing(open_broker(engine.url))
    publish(broker, "a")
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=1)


def test_threads_share_a_broker_and_nothing_is_lost_or_doubled(engine: Engine) -> None:
    broker = engine.broker()
    each, batch = 30, 10
    seen: list[str] = []
    errors: list[BaseException] = []

    def produce(number: int) -> None:
        for turn_number in range(each):
            publish(broker, *(f"{number}-{turn_number}-{n}" for n in range(batch)))

    def consume(number: int) -> None:
        consumer = join_queue(broker, f"n/{number}")
        while len(seen) < 2 * each * batch:
            deliveries = take(consumer, 16)
            seen.extend(texts(deliveries))
            assert settle(consumer, *map(Settlement, deliveries)).refused == ()

    def guarded(work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work, n)) for work in (produce, consume) for n in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: errors or not any(thread.is_alive() for thread in threads), within=30, what="the threads end")
    assert not errors
    assert len(seen) == len(set(seen)) == 2 * each * batch
    assert broker.count([QUEUE])[QUEUE] == Counts()
