"""Upkeep's thread with the memory broker: what it tells the board and the supervisor about leases."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from celeriac.brokers.base import Delivery, Opened, Settlement
from celeriac.brokers.memory import MemoryBroker
from celeriac.errors import BrokerError
from celeriac.worker.settler import Settler
from celeriac.worker.supervisor.board import ALL, PENDING, Board
from celeriac.worker.supervisor.fates import Lost, Terminated, TimedOut
from celeriac.worker.supervisor.upkeep import Events, Upkeep
from tests.processes import until

LEASE = 0.3


class Told:
    """Everything upkeep says, in order."""

    def __init__(self) -> None:
        self.news: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.events = Events(**{name: self._telling(name) for name in Events.__struct_fields__})

    def _telling(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.news.put((name, *arguments))

    def expect(self, *news: Any) -> None:
        assert self.news.get(timeout=5) == news


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> MemoryBroker:
    broker = MemoryBroker(Opened(f"memory://{request.node.name}", {}))
    broker.open()
    return broker


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board(slots=2)
    yield board
    board.close()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def upkeep(broker: MemoryBroker, board: Board, told: Told) -> Iterator[Upkeep]:
    upkeep = Upkeep(
        node="n",
        broker=broker,
        settler_for=lambda name: Settler(broker.consumer(name, ["q"]), None),
        queues=["q"],
        board=board,
        lease=LEASE,
        judge=Never(),
        events=told.events,
    )
    upkeep.start()
    yield upkeep
    upkeep.stop()
    upkeep.join(timeout=5)


class Never:
    """Judges nobody: all are innocent."""

    max_strikes = 3

    def convict(self, delivery: Delivery, strikes: int, how: str) -> Settlement:
        raise AssertionError(f"{delivery} is innocent")

    def lost(self, delivery: Delivery, fate: Lost) -> Settlement | None:
        raise AssertionError(f"{delivery} is not lost")

    def timed_out(self, delivery: Delivery, fate: TimedOut) -> Settlement:
        raise AssertionError(f"{delivery} had time")

    def terminated(self, delivery: Delivery, fate: Terminated) -> Settlement:
        raise AssertionError(f"{delivery} was not revoked")


def test_nothing_of_a_lost_lease_may_start(upkeep: Upkeep, broker: MemoryBroker, board: Board, told: Told) -> None:
    upkeep.enlist(1, "n/1.1")
    told.expect("enlisted", 1, "n/1.1")
    broker.enlist("other/s1", ["q"])
    broker.recover("n/1.1", ["q"], "other/s1")
    told.expect("fenced", 1)
    assert board.desk(1).leave()[1:] == (0, ALL)


def test_a_give_back_after_the_lease_was_lost_is_answered(
    upkeep: Upkeep, broker: MemoryBroker, board: Board, told: Told
) -> None:
    upkeep.enlist(1, "n/1.1")
    told.expect("enlisted", 1, "n/1.1")
    broker.enlist("other/s1", ["q"])
    broker.recover("n/1.1", ["q"], "other/s1")
    told.expect("fenced", 1)
    # The supervisor had found a long task meanwhile; without an answer the runner would wait for ever.
    board.withdraw(1, 5, PENDING)
    upkeep.give_back(1, "n/1.1", 5)
    until(lambda: board.desk(1).leave()[1:] == (0, ALL), what="the board says that all of it is gone")


def test_what_was_ordered_for_the_dead_leaves_the_slot_to_its_successor(
    upkeep: Upkeep, broker: MemoryBroker, board: Board, told: Told
) -> None:
    upkeep.enlist(1, "n/1.1")
    told.expect("enlisted", 1, "n/1.1")
    board.withdraw(1, 5, PENDING)
    upkeep.give_back(1, "n/1.1", 5)
    upkeep.retire("n/1.1")
    upkeep.enlist(1, "n/1.2")
    told.expect("settled", "n/1.1")
    told.expect("enlisted", 1, "n/1.2")
    # Receipts begin anew with each consumer: a range that is still withdrawn would be skipped, and never run.
    assert board.desk(1).leave()[1:] == (0, 0)


def test_a_refusal_keeps_nothing_else_from_being_done(
    upkeep: Upkeep, broker: MemoryBroker, board: Board, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Counter[str]()

    def refused(queues: Sequence[str], limit: int = 1000) -> tuple[int, float | None]:
        looks["promote"] += 1
        raise BrokerError("a key of another type")

    def leases(queues: Sequence[str]) -> Mapping[str, int]:
        looks["leases"] += 1
        return MemoryBroker.leases(broker, queues)

    monkeypatch.setattr(broker, "promote", refused)
    monkeypatch.setattr(broker, "leases", leases)
    upkeep.enlist(1, "n/1.1")
    told.expect("enlisted", 1, "n/1.1")
    until(lambda: looks["leases"] >= 2, what="the dead are looked for all the same")
    assert looks["promote"] < 10, "it is tried again after a pause, not in a busy loop"


def test_a_mistake_of_ours_does_not_end_the_thread(upkeep: Upkeep, told: Told) -> None:
    upkeep.enlist(1, "n/1.1")
    upkeep.give_back(1, "n/1.1", -1)  # no receipt: the board cannot hold it
    upkeep.retire("n/1.1")
    told.expect("enlisted", 1, "n/1.1")
    told.expect("settled", "n/1.1")
