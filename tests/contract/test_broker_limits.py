"""The broker port: limits of queues for producers. One suite for every engine."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from celeriac.brokers.base import Broker, Counts, Delivery, Outgoing, Settlement, Shelf, Verdict
from celeriac.brokers.bounds import Bounds
from celeriac.brokers.registry import open_broker
from celeriac.errors import QueueFull
from celeriac.wire.message import Message
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
)


def limited(engine: Engine, most: int = 3, **options: bool) -> Broker:
    return closing(open_broker(engine.url, bounds=Bounds(queue_lengths={QUEUE: most}, **options)))


def waiting(broker: Broker, queue: str = QUEUE) -> list[str]:
    return [text_of(payload) for payload in broker.peek(queue)]


def test_beyond_its_limit_a_queue_takes_all_or_nothing(engine: Engine) -> None:
    broker = limited(engine)
    publish(broker, "a", "b")
    with pytest.raises(QueueFull, match=r"holds 2 messages and its queue_max_length is 3: 2 more do not fit") as raised:
        broker.publish([outgoing("elsewhere", "other"), outgoing("c"), outgoing("d")])
    error = raised.value
    assert (error.queue, error.length, error.limit, error.hopeless) == (QUEUE, 2, 3, False)
    assert (waiting(broker), waiting(broker, "other")) == (["a", "b"], [])
    publish(broker, "c", priority=6)
    with pytest.raises(QueueFull):
        publish(broker, "d", priority=9)
    with pytest.raises(QueueFull) as raised:
        publish(broker, *"wxyz")
    assert raised.value.hopeless
    publish(broker, *"wxyz", queue="other")
    publish(engine.broker(), "d")  # whoever has no limit
    assert waiting(broker) == ["a", "b", "d", "c"]


def test_what_runs_or_is_put_off_does_not_count_and_suspects_do(engine: Engine) -> None:
    broker = limited(engine)
    publish(broker, *"abc")
    consumer = join_queue(broker, "n/1")
    first, second = take(consumer, 2)
    publish(broker, "d", "e")
    settle(consumer, requeue(first, shelf=Shelf.SUSPECT, strikes=1))  # what comes back is never refused
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=3, suspects=1, in_flight=1)
    with pytest.raises(QueueFull, match="holds 4 messages"):
        publish(broker, "f")
    settle(consumer, Settlement(second, follow_ups=(outgoing("g"), outgoing("h"))))
    assert broker.count([QUEUE])[QUEUE].ready == 5


def test_the_oldest_of_the_least_urgent_make_room(engine: Engine) -> None:
    broker = limited(engine, drop_oldest=True)
    publish(broker, "urgent", priority=0)
    publish(broker, "low1", "low2", priority=9)
    publish(broker, "new")
    assert waiting(broker) == ["urgent", "new", "low2"]
    broker.publish([outgoing("x"), outgoing("elsewhere", "other"), outgoing("y")])
    assert waiting(broker) == ["new", "x", "y"]
    letters = broker.dead_letters([QUEUE])
    assert [text_of(letter.payload) for letter in letters][::-1] == ["low1", "low2", "urgent"]
    newest = letters[0]
    assert (newest.reason, newest.task, newest.task_id) == ("overflow", "tasks.echo", "urgent")
    assert "queue_max_length is 3" in newest.detail
    assert broker.requeue_dead(QUEUE, [newest.id]) == [newest.id]  # an operator is not refused
    assert texts(take(join_queue(broker, "n/1"))) == ["new", "x", "y", "urgent"]


def test_a_call_of_more_than_the_limit_leaves_its_last(engine: Engine) -> None:
    broker = limited(engine, drop_oldest=True)
    publish(broker, *(f"{number}" for number in range(10)))
    assert waiting(broker) == ["7", "8", "9"]
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=3, dead=7)


def test_a_limit_that_was_lowered_is_reached_by_and_by(engine: Engine) -> None:
    publish(engine.broker(), *map(str, range(1100)))
    broker = limited(engine, drop_oldest=True)
    publish(broker, "new", "newer")
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=100, dead=1002)
    publish(broker, "newest")
    assert waiting(broker) == ["new", "newer", "newest"]


def test_names_that_are_no_text_do_not_keep_the_next_from_coming(engine: Engine) -> None:
    broker = limited(engine, 1, drop_oldest=True)
    odd = Message({"task": "half \ud800", "id": "\udfff"}, b"[]", {})
    broker.publish([Outgoing(QUEUE, odd)])
    publish(broker, "next")
    assert waiting(broker) == ["next"]
    assert len(broker.dead_letters([QUEUE])) == 1


def test_of_many_producers_none_gets_it_beyond_its_limit(engine: Engine) -> None:
    broker = limited(engine, 25)
    refused: list[str] = []

    def produce(number: int) -> None:
        for n in range(10):
            try:
                publish(broker, f"{number}-{n}", f"{number}-{n}+")
            except QueueFull:
                refused.append(f"{number}-{n}")

    threads = [threading.Thread(target=produce, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert broker.count([QUEUE])[QUEUE] == Counts(ready=24)
    assert len(refused) == 40 - 12


def test_a_limit_for_all_queues_and_another_for_one(engine: Engine) -> None:
    bounds = Bounds(queue_length=1, queue_lengths={"large": 2})
    broker = closing(open_broker(engine.url, bounds=bounds))
    publish(broker, "a", queue="small")
    publish(broker, "a", "b", queue="large")
    for queue in ("small", "large"):
        with pytest.raises(QueueFull):
            publish(broker, "c", queue=queue)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_a_call_is_refused_where_it_does_not_fit_and_only_there(engine: Engine, seed: int) -> None:
    """Against a count after each step: what an engine knows of its length must never be out of date."""
    chance = random.Random(seed)
    broker = limited(engine, 20)
    consumer = join_queue(engine.broker(), "n/1")
    held: list[Delivery] = []
    outcomes = set[bool]()
    for number in range(150):
        length = len(broker.peek(QUEUE, 100))
        action = chance.choice(["publish", "publish", "take", "done", "back", "put off", "promote", "give back"])
        some = [held.pop() for _ in range(min(len(held), chance.randint(1, 4)))] if action in _ENDS else []
        if action == "publish":
            names = [f"{number}-{each}" for each in range(chance.randint(1, 9))]
            fits = length + len(names) <= 20
            outcomes.add(fits)
            if fits:
                publish(broker, *names)
            else:
                with pytest.raises(QueueFull, match=f"holds {length} messages"):
                    publish(broker, *names)
        elif action == "take":
            held += take(consumer, chance.randint(1, 9))
        elif action == "give back":
            engine.broker().give_back("n/1", [QUEUE], 0)
            held.clear()
        elif action == "promote":
            broker.promote([QUEUE])
        else:
            settle(consumer, *(_ENDS[action](delivery) for delivery in some))
    assert outcomes == {True, False}


_ENDS: dict[str, Callable[[Delivery], Settlement]] = {
    "done": Settlement,
    "back": requeue,
    "put off": lambda delivery: Settlement(delivery, Verdict.PUT_OFF, due=1.0),
}
