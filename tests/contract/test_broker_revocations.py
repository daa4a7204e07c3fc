"""The broker port: revocations. One suite for every engine."""

from __future__ import annotations

from celeriac.brokers.base import Settlement
from celeriac.brokers.bounds import Bounds
from celeriac.brokers.registry import open_broker
from celeriac.brokers.revocation import Revocation
from tests.contract.engines import QUEUE, Engine, closing, join_queue, publish, settle, take, turn
from tests.processes import until


def ids(entries: list[Revocation]) -> list[str]:
    return [entry.task_id for entry in entries]


def test_what_is_revoked_is_found_by_another_in_order_and_only_what_is_new(engine: Engine) -> None:
    broker, other = engine.broker(), engine.broker()
    assert other.revocations() == (0, [])
    first = broker.revoke([Revocation("a"), Revocation("b", terminate=True, signal=9)])
    stamps = {"customer": ("x", "y"), "日": ("z",)}
    second = broker.revoke([Revocation(headers=stamps)])
    newest, entries = other.revocations()
    assert second > first
    assert newest == second
    assert ids(entries) == ["a", "b", ""]
    assert (entries[1].terminate, entries[1].signal, entries[1].revision) == (True, 9, first)
    assert entries[2].headers == stamps
    assert other.revocations(first) == (second, [entries[2]])
    assert other.revocations(second) == (second, [])
    # A revision from before the server was emptied says nothing: all over again.
    assert other.revocations(second + 10) == (second, entries)
    assert abs(entries[0].since - turn(join_queue(broker, "n/1")).now) < 60


def test_repeated_it_is_kept_once_under_a_new_revision(engine: Engine) -> None:
    broker = engine.broker()
    broker.revoke([Revocation("a"), Revocation("b")])
    once = broker.revoke([Revocation(headers={"x": ("1", "2"), "y": ("3",)})])
    again = broker.revoke([Revocation("a", terminate=True), Revocation(headers={"y": ("3",), "x": ("2", "1")})])
    newest, entries = broker.revocations()
    assert newest == again
    assert ids(entries) == ["b", "a", ""]
    assert entries[1].terminate
    assert broker.revocations(once)[1] == entries[1:]


def test_every_turn_says_how_far_revocations_had_come(engine: Engine) -> None:
    broker = engine.broker()
    publish(broker, "a", "b")
    consumer = join_queue(broker, "n/1")
    answer = turn(consumer, (), 1)
    assert answer.revision == 0
    revision = engine.broker().revoke([Revocation("b")])
    assert turn(consumer, [Settlement(answer.deliveries[0])], 1).revision == revision
    assert settle(consumer).revision == revision


def test_the_oldest_go_first_beyond_the_bound(engine: Engine) -> None:
    broker = closing(open_broker(engine.url, bounds=Bounds(revokes_max=3)))
    broker.revoke([Revocation(name) for name in "abc"])
    broker.revoke([Revocation("a")])
    last = broker.revoke([Revocation("d"), Revocation("e")])
    assert broker.revocations()[0] == last
    assert ids(broker.revocations()[1]) == ["a", "d", "e"]
    # Many at once, more than a page of any engine, and none beyond the bound afterwards.
    broker.revoke([Revocation(f"{number}") for number in range(2500)])
    assert ids(engine.broker().revocations()[1]) == ["2497", "2498", "2499"]


def test_more_than_a_page_is_read_whole(engine: Engine) -> None:
    broker = engine.broker()
    names = [f"{number}" for number in range(2500)]
    broker.revoke([Revocation(name) for name in names])
    assert ids(engine.broker().revocations()[1]) == names


def test_they_expire(engine: Engine) -> None:
    broker = closing(open_broker(engine.url, bounds=Bounds(revokes_expire=0.05)))
    revision = broker.revoke([Revocation("a")])
    until(lambda: broker.revocations()[1] == [], what="the revocation expires")
    assert broker.revoke([Revocation("b")]) > revision
    publish(broker, "x")
    assert len(take(join_queue(broker, "n/1", [QUEUE]))) == 1
