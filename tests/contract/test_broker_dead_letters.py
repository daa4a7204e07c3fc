"""The broker port: what is done with dead letters. One suite for every engine."""

from __future__ import annotations

import time

import pytest

from celeriac.brokers.base import Broker, Counts, DeadLetter, Settlement, Shelf, Verdict
from celeriac.brokers.bounds import Bounds
from celeriac.brokers.registry import open_broker
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


def kill(broker: Broker, *names: str, queue: str = QUEUE, **facts: object) -> list[DeadLetter]:
    """Letters of these messages, one after the other: the newest is the last."""
    consumer = join_queue(broker, "undertaker/1", [queue])
    for name in names:
        publish(broker, name, queue=queue)
        (delivery,) = take(consumer)
        options = {"reason": "failed", "task": "tasks.echo", "task_id": f"id-{name}", **facts}
        settle(consumer, Settlement(delivery, Verdict.DEAD, **options))  # type: ignore[arg-type]
    return broker.dead_letters([queue], len(names))[::-1]


def names(letters: list[DeadLetter]) -> list[str]:
    return [text_of(letter.payload) for letter in letters]


def test_they_are_listed_page_by_page_whatever_becomes_of_a_page(engine: Engine) -> None:
    broker = engine.broker()
    consumer = join_queue(broker, "n/1", ["one", "two"])
    for number in range(10):  # many of one instant
        broker.publish([outgoing(f"{number}-{queue}", queue) for queue in ("one", "two")])
    settle(consumer, *(Settlement(each, Verdict.DEAD, reason="lost") for each in take(consumer, 100)))
    everything = broker.dead_letters(["one", "two"])
    assert len(everything) == 20
    seen: list[DeadLetter] = []
    while page := broker.dead_letters(["one", "two"], 3, before=seen[-1] if seen else None):
        seen += page
        assert broker.purge_dead(page[0].queue, [page[0].id, "unknown"]) == 1
        assert broker.dead_letter(page[0].queue, page[0].id) is None
    assert seen == everything


def test_a_page_of_large_ones_has_fewer(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for adapter in ("redis", "sqlite"):
        monkeypatch.setattr(f"celeriac.brokers.{adapter}.dead.PAGE_BYTES", 10_000)
    broker = engine.broker()
    consumer = join_queue(broker, "n/1", ["one", "two"])
    for size, queue in ((3000, "one"), (20_000, "two"), (10, "two"), (3000, "one"), (3000, "one"), (20_000, "one")):
        broker.publish([outgoing("x" * size, queue) for _ in range(2)])
        settle(consumer, *(Settlement(each, Verdict.DEAD, reason="lost") for each in take(consumer, 100)))
    seen: list[DeadLetter] = []
    while page := broker.dead_letters(["one", "two"], 100, before=seen[-1] if seen else None):
        for queue in ("one", "two"):
            sizes = [len(each.payload) for each in page if each.queue == queue]
            assert engine.name == "memory" or len(sizes) <= 1 or sum(sizes) <= 10_000
        seen += page
    assert [each.since for each in seen] == sorted((each.since for each in seen), reverse=True)
    assert len({(each.queue, each.id) for each in seen}) == len(seen) == 12


def test_they_are_listed_by_age_and_found_by_id(engine: Engine) -> None:
    broker = engine.broker()
    first, second, third = kill(broker, "a", "b", "c")
    until(lambda: third.since < turn(join_queue(broker, "n/1")).now, what="the clock moves on")
    (last,) = kill(broker, "d")
    assert names(broker.dead_letters([QUEUE], older=last.since)) == ["c", "b", "a"]
    assert names(broker.dead_letters([QUEUE], newer=last.since)) == ["d"]
    assert broker.dead_letters([QUEUE], older=last.since, newer=last.since) == []
    assert names(broker.dead_letters([QUEUE], older=last.since, before=third)) == ["b", "a"]
    assert broker.dead_letter(QUEUE, second.id) == second
    assert broker.dead_letter("other", first.id) is None
    assert broker.dead_letter(QUEUE, "999999") is None


def test_a_letter_has_its_traceback_and_history(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a")
    victim, heir = join_queue(broker, "n:1/0.1"), join_queue(broker, "n:1/s1")
    take(victim)
    (moved,) = broker.recover("n:1/0.1", [QUEUE], "n:1/s1")
    assert moved.of == "n:1/0.1"
    settle(heir, requeue(moved, shelf=Shelf.SUSPECT, strikes=1))
    (again,) = take(heir)
    dead = Settlement(again, Verdict.DEAD, strikes=2, reason="lost", task_id="id-a", traceback="Traceback …\n  日\n")
    settle(heir, dead)
    (letter,) = broker.dead_letters([QUEUE])
    assert letter.traceback == "Traceback …\n  日\n"
    assert letter.strikes == 2
    assert [(each.what, each.who) for each in letter.history] == [("strike", "n:1/0.1"), ("strike", "n:1/s1")]
    assert abs(letter.history[0].when - letter.since) < 60
    # Sent again, and dead again under other bytes, as after a retry: it is the same task.
    assert broker.requeue_dead(QUEUE, [letter.id], by="some host") == [letter.id]
    (delivery,) = take(heir)
    assert delivery.strikes == 0
    settle(heir, Settlement(delivery, follow_ups=(outgoing("retry"),)))
    (retried,) = take(heir)
    settle(heir, Settlement(retried, Verdict.DEAD, reason="failed", task_id="id-a"))
    (letter,) = broker.dead_letters([QUEUE])
    told = [(each.what, each.who) for each in letter.history]
    assert told == [("strike", "n:1/0.1"), ("strike", "n:1/s1"), ("lost", ""), ("requeued", "some_host")]
    for _ in range(12):  # bounded
        broker.requeue_dead(QUEUE, [letter.id])
        settle(heir, Settlement(take(heir)[0], Verdict.DEAD, reason="failed", task_id="id-a"))
        (letter,) = broker.dead_letters([QUEUE])
    assert len(letter.history) == 20
    assert letter.history[-1].what == "requeued"


def test_they_are_sent_again_each_at_its_moment(engine: Engine) -> None:
    broker = engine.broker()
    ids = [letter.id for letter in kill(broker, *"abc")]
    now = turn(join_queue(broker, "n/1")).now
    assert broker.requeue_dead(QUEUE, [ids[0], "unknown", ids[1], ids[2]], after=600, every=0.5) == ids
    due = broker.delayed(QUEUE)
    assert [text_of(payload) for _, payload in due] == ["a", "b", "c"]
    assert [when - now for when, _ in due] == pytest.approx([600, 600.5, 601], abs=30)
    assert due[2][0] - due[0][0] == pytest.approx(1, abs=0.01)
    assert broker.count([QUEUE])[QUEUE] == Counts(delayed=3)
    # Repeated, as after an answer that was lost: nothing is there twice.
    assert broker.requeue_dead(QUEUE, ids, after=600, every=0.5) == []
    assert broker.count([QUEUE])[QUEUE] == Counts(delayed=3)


def test_an_edited_letter_is_sent_with_its_new_bytes(engine: Engine) -> None:
    broker = engine.broker()
    (letter,) = kill(broker, "a", traceback="tb")
    publish(broker, "b")
    consumer = join_queue(broker, "n/1")
    (other,) = take(consumer)
    settle(consumer, Settlement(other))
    assert broker.edit_dead(letter, other.payload, "me")
    assert not broker.edit_dead(letter, b"too late")
    (edited,) = broker.dead_letters([QUEUE])
    assert (edited.id, edited.payload, edited.traceback) == (letter.id, other.payload, "tb")
    assert (edited.since, edited.reason) == (letter.since, letter.reason)
    assert [each.what for each in edited.history] == ["edited"]
    broker.requeue_dead(QUEUE, [letter.id])
    assert texts(take(consumer)) == ["b"]
    assert not broker.edit_dead(edited, b"gone")


def test_purged_is_gone(engine: Engine) -> None:
    broker = engine.broker()
    first, second = kill(broker, *"ab")
    assert broker.purge_dead("other", [first.id]) == 0
    assert broker.purge_dead(QUEUE, [first.id, first.id, "unknown"]) == 1
    assert names(broker.dead_letters([QUEUE])) == ["b"]
    assert broker.requeue_dead(QUEUE, [first.id]) == []
    assert broker.count([QUEUE])[QUEUE] == Counts(dead=1)
    assert broker.purge_dead(QUEUE, [second.id]) == 1
    assert broker.dead_letters([QUEUE]) == []


def test_a_second_chance_comes_by_itself_and_not_for_ever(engine: Engine) -> None:
    broker = engine.broker()
    (letter,) = kill(broker, "a", again_after=0.05, again_most=2)
    consumer = join_queue(broker, "n/1")
    again = {"reason": "failed", "task_id": "id-a", "again_after": 0.05, "again_most": 2}
    for count in range(2):
        assert letter.requeues == count
        assert letter.again == pytest.approx(letter.since + 0.05, abs=0.002)
        wait = broker.promote([QUEUE])[1]
        assert wait is None or wait <= 0.05
        until(lambda: broker.promote([QUEUE])[0] or broker.count([QUEUE])[QUEUE].ready, what="it is sent again")
        (delivery,) = take(consumer)
        settle(consumer, Settlement(delivery, Verdict.DEAD, **again))  # type: ignore[arg-type]
        (letter,) = broker.dead_letters([QUEUE])
    assert (letter.requeues, letter.again) == (2, None)
    assert [each.what for each in letter.history] == ["failed", "again"] * 2
    assert broker.promote([QUEUE]) == (0, None)
    # Who sends it by hand takes the chance it had left.
    (other,) = kill(broker, "b", again_after=3600, again_most=1)
    assert broker.promote([QUEUE])[1] == pytest.approx(3600, abs=60)
    broker.requeue_dead(QUEUE, [other.id])
    assert broker.promote([QUEUE]) == (0, None)


@pytest.mark.parametrize("chance", [(-5.0, 3), (1e300, 3), (float("inf"), 1), (60.0, 3.0), (60.0, -1)])
def test_an_odd_number_loses_no_message(engine: Engine, chance: tuple[float, int]) -> None:
    """Out of the settings it comes to a script that has the message in its hands."""
    broker = engine.broker()
    kill(broker, "a", again_after=chance[0], again_most=chance[1])
    assert broker.count([QUEUE])[QUEUE] == Counts(dead=1)


def test_the_oldest_go_first_with_a_warning(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    broker = closing(open_broker(engine.url, bounds=Bounds(dead_letter_max=3)))
    ids = [letter.id for letter in kill(broker, *"abcd", again_after=3600, again_most=1)]
    assert names(broker.dead_letters([QUEUE])) == ["d", "c", "b"]
    assert "1 of the oldest dead letters deleted" in caplog.text
    assert broker.count([QUEUE])[QUEUE] == Counts(dead=3)
    broker.purge_dead(QUEUE, ids[1:])
    kill(broker, *"ef")
    assert names(broker.dead_letters([QUEUE])) == ["f", "e", "b"]


def test_upkeep_keeps_to_a_bound_that_was_lowered(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    broker = engine.broker()
    broker.import_dead(kill(broker, *"abc"))
    bounded = closing(open_broker(engine.url, bounds=Bounds(dead_letter_max=2)))
    bounded.promote([QUEUE])
    assert broker.count([QUEUE])[QUEUE] == Counts(dead=2)
    assert "4 of the oldest dead letters deleted" in caplog.text


def test_they_expire(engine: Engine) -> None:
    broker = closing(open_broker(engine.url, bounds=Bounds(dead_letter_expires=0.05)))
    kill(broker, "a")
    until(lambda: time.time() > broker.dead_letters([QUEUE], 1)[0].since + 0.06, what="it is old")
    broker.promote([QUEUE])
    assert broker.dead_letters([QUEUE]) == []
    assert broker.count([QUEUE])[QUEUE] == Counts()


def test_exported_letters_come_in_elsewhere(engine: Engine) -> None:
    broker, other = engine.broker(), engine.broker(engine.elsewhere)
    letters = kill(broker, *"ab", traceback="tb", detail="a\nb")
    assert len(other.import_dead(letters, "host")) == 2
    found = other.dead_letters([QUEUE])[::-1]
    assert names(found) == ["a", "b"]
    assert [(each.reason, each.task_id, each.traceback, each.detail) for each in found] == [
        ("failed", f"id-{name}", "tb", "a\nb") for name in "ab"
    ]
    assert [each.since for each in found] == pytest.approx([each.since for each in letters], abs=0.001)
    assert [each.what for each in found[0].history] == ["imported"]
    assert other.requeue_dead(QUEUE, [each.id for each in found]) == [each.id for each in found]
    assert texts(take(join_queue(other, "n/1"))) == ["a", "b"]
