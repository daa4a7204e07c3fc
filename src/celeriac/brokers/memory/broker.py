"""Queues in this process's memory: the reference of the broker port. Simple, exact, thread-safe, seen by no one else.

One lock for everything: what the port calls one step is one block under it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...drivers import memory as driver
from ...errors import FencedError
from ...wire.message import Record
from ..base import (
    Capabilities,
    Counts,
    Delivery,
    Member,
    Opened,
    Outgoing,
    Settlement,
    Shelf,
    Turn,
)
from ..deleted import Deleted
from ..revocation import Revocation
from .dead import DeadLetters
from .queues import Entry, Queues


class MemoryConsumer:
    """`brokers.base.Consumer`: the call is done when it is sent, the answer kept until it is received."""

    def __init__(self, broker: MemoryBroker, name: str, queues: Sequence[str]) -> None:
        self.name = name
        self._broker = broker
        self._queues = list(queues)
        self._answer: Turn | FencedError | None = None

    def send(
        self,
        settlements: Sequence[Settlement],
        limit: int,
        *,
        max_bytes: int = 0,
        shelf: Shelf = Shelf.READY,
    ) -> None:
        with self._broker.lock:
            try:
                self._answer = self._turn(settlements, limit, max_bytes, shelf)
            except FencedError as error:
                self._answer = error

    def receive(self) -> Turn:
        answer, self._answer = self._answer, None
        if isinstance(answer, FencedError):
            raise answer
        if answer is None:
            raise RuntimeError("receive() without send()")
        return answer

    def close(self) -> None:
        """Nothing to release."""

    def _turn(self, settlements: Sequence[Settlement], limit: int, max_bytes: int, shelf: Shelf) -> Turn:
        state, now = self._broker.state, self._broker.clock()
        state.fence(self.name, self._queues)
        put = self._broker.put
        refused = []
        for settlement in settlements:
            done, gone = state.settle(self.name, settlement, put, now, self._broker.bounds, self._broker.tally)
            self._broker.deleted.note(gone)
            if not done and settlement.delivery is not None:
                refused.append(settlement.delivery.receipt)
        deliveries, suspects = self._reserve(limit, max_bytes, shelf) if limit else ([], False)
        return Turn(deliveries, tuple(refused), now, suspects, state.revoked.revision)

    def _reserve(self, limit: int, max_bytes: int, shelf: Shelf) -> tuple[list[Delivery], bool]:
        held = self._broker.state.held.get(self.name)
        if shelf is Shelf.QUARANTINE:
            return ([] if held else self._alone(Shelf.QUARANTINE)), False
        if not held and (alone := self._alone(Shelf.SUSPECT)):
            return alone, False
        if held and any(delivery.shelf is not Shelf.READY for delivery, _ in held.values()):
            return [], self._waits(Shelf.SUSPECT)  # what runs alone has nothing beside it
        return self._ready(limit, max_bytes), self._waits(Shelf.SUSPECT)

    def _waits(self, shelf: Shelf) -> bool:
        return any(self._broker.state.queue(name).shelves[shelf] for name in self._queues)

    def _alone(self, shelf: Shelf) -> list[Delivery]:
        for name, _ in self._next_queues(shelf):
            return [self._broker.state.reserve(self.name, name, shelf)]
        return []

    def _ready(self, limit: int, max_bytes: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        taken = 0
        for name, entry in self._next_queues(Shelf.READY):
            taken += len(entry.payload)
            if deliveries and (len(deliveries) == limit or 0 < max_bytes < taken):
                break
            deliveries.append(self._broker.state.reserve(self.name, name, Shelf.READY))
            self._rotate(name)
        return deliveries

    def _next_queues(self, shelf: Shelf) -> Iterator[tuple[str, Entry]]:
        """Again and again the queue whose next message goes first by priority; among equals, the first in rotation."""
        while True:
            heaps = ((name, self._broker.state.queue(name).shelves[shelf]) for name in self._queues)
            heads = [(name, heap[0]) for name, heap in heaps if heap]
            if not heads:
                return
            yield min(heads, key=lambda head: head[1].priority)

    def _rotate(self, served: str) -> None:
        """The queue just served is asked last."""
        self._queues.remove(served)
        self._queues.append(served)


class MemoryWaiter:
    """`brokers.base.Waiter` over one event."""

    def __init__(self, broker: MemoryBroker, queues: Sequence[str]) -> None:
        self._broker = broker
        self._queues = frozenset(queues)
        self._event = threading.Event()
        self._interrupted = False

    def told(self, queue: str) -> None:
        """Called by `Queues`, the lock held."""
        if queue in self._queues:
            self._event.set()

    def arm(self) -> int:
        with self._broker.lock:
            self._broker.state.waiters.add(self)
            self._event.clear()
            queues = (self._broker.state.queue(name) for name in self._queues)
            return sum(len(queue.shelves[Shelf.READY]) + len(queue.shelves[Shelf.SUSPECT]) for queue in queues)

    def wait(self, timeout: float, also: int | None = None) -> bool:
        woken = self._event.wait(timeout)
        interrupted, self._interrupted = self._interrupted, False
        return woken and not interrupted

    def interrupt(self) -> None:
        self._interrupted = True
        self._event.set()

    def close(self) -> None:
        with self._broker.lock:
            self._broker.state.waiters.discard(self)


class MemoryBroker(DeadLetters):
    """`brokers.base.Broker` in memory. Brokers of one URL share their queues."""

    capabilities = Capabilities(native_delay=True, shared=False)

    def __init__(self, opened: Opened, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.bounds = opened.bounds
        self.deleted = Deleted(opened.bounds)
        self._space = driver.space(opened.url)
        self.lock = self._space.lock
        self.state = self._space.store("queues", Queues)
        #: Stores a record in the joined backend.
        self.put: Callable[[Record], None] | None = None
        #: Counts a member of a chord there; true where that completes it.
        self.tally: Callable[[Member], bool] | None = None

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to release: the queues stay with the process."""

    def join(self, identity: tuple[str, Any], location: Mapping[str, Any]) -> bool:
        mine = identity == ("memory", self._space.name)
        self.put, self.tally = (location["put"], location["count"]) if mine else (None, None)
        return self.put is not None

    def declare(self, queues: Sequence[str]) -> None:
        with self.lock:
            for name in queues:
                self.state.queue(name)

    def publish(self, messages: Sequence[Outgoing], timeout: float | None = None) -> None:
        with self.lock:
            if self.bounds.any_length:
                self.deleted.note(self.state.publish_bounded(messages, self.bounds, self.clock()))
            else:
                self.state.publish(messages)

    # -- consumers and leases -----------------------------------------------------------------------------------

    def enlist(self, consumer: str, queues: Sequence[str]) -> None:
        with self.lock:
            for queue in queues:
                self.state.leases.setdefault((consumer, queue), 1)

    def consumer(self, name: str, queues: Sequence[str]) -> MemoryConsumer:
        return MemoryConsumer(self, name, queues)

    def renew(self, consumers: Sequence[str], queues: Sequence[str]) -> list[str]:
        with self.lock:
            leases = self.state.leases
            gone = [consumer for consumer in consumers if any((consumer, queue) not in leases for queue in queues)]
            for lease in itertools.product(consumers, queues):
                if lease in leases:
                    leases[lease] += 1
            return gone

    def leases(self, queues: Sequence[str]) -> dict[str, int]:
        counters: dict[str, int] = {}
        with self.lock:
            for (consumer, queue), counter in self.state.leases.items():
                if queue in queues:
                    counters[consumer] = counters.get(consumer, 0) + counter
        return counters

    def recover(self, consumer: str, queues: Sequence[str], into: str, counter: int | None = None) -> list[Delivery]:
        with self.lock:
            state = self.state
            if counter is not None and self.leases(queues).get(consumer) != counter:
                return []
            state.fence(into, queues)
            moved: list[Delivery] = []
            for receipt in state.held_on(consumer, queues):
                delivery, entry = state.held[consumer].pop(receipt)
                moved.append(state.hold(into, delivery.queue, delivery.shelf, entry, receipt, consumer))
            self._end(consumer, queues)
            return moved

    def held(self, consumer: str, queues: Sequence[str]) -> list[Delivery]:
        with self.lock:
            mine = self.state.held.get(consumer, {})
            return [mine[receipt][0] for receipt in self.state.held_on(consumer, queues)]

    def give_back(self, consumer: str, queues: Sequence[str], after: int) -> int:
        with self.lock:
            receipts = [receipt for receipt in self.state.held_on(consumer, queues) if receipt > after]
            self.state.put_back(consumer, receipts)
            return self.state.receipt

    def dismiss(self, consumer: str, queues: Sequence[str]) -> None:
        with self.lock:
            self.state.put_back(consumer, self.state.held_on(consumer, queues))
            self._end(consumer, queues)

    def _end(self, consumer: str, queues: Sequence[str]) -> None:
        for queue in queues:
            self.state.leases.pop((consumer, queue), None)
        if not self.state.held.get(consumer):
            self.state.held.pop(consumer, None)

    # -- upkeep -------------------------------------------------------------------------------------------------

    def promote(self, queues: Sequence[str], limit: int = 1000) -> tuple[int, float | None]:
        with self.lock:
            now, moved = self.clock(), 0
            for name in queues:
                self.deleted.note(self.state.forget_dead(name, self.bounds, now))
                moved += self.state.promote(name, now, limit - moved)
                moved += self.state.second_chances(name, now, limit - moved)
            dues = [due for name in queues for due in self.state.dues(name)]
            return moved, max(0.0, min(dues) - now) if dues else None

    def waiter(self, queues: Sequence[str]) -> MemoryWaiter:
        return MemoryWaiter(self, queues)

    # -- revocations --------------------------------------------------------------------------------------------

    def revoke(self, entries: Sequence[Revocation]) -> int:
        with self.lock:
            return self.state.revoked.add(entries, self.bounds, self.clock())

    def revocations(self, since: int = 0) -> tuple[int, list[Revocation]]:
        with self.lock:
            return self.state.revoked.newer(since, self.bounds, self.clock())

    # -- looking and tidying ------------------------------------------------------------------------------------

    def count(self, queues: Sequence[str]) -> dict[str, Counts]:
        with self.lock:
            return {name: self._counts(name) for name in queues}

    def quarantined(self, queues: Sequence[str]) -> int:
        with self.lock:
            return sum(len(self.state.queue(name).shelves[Shelf.QUARANTINE]) for name in queues)

    def _counts(self, name: str) -> Counts:
        queue = self.state.queue(name)
        return Counts(
            ready=len(queue.shelves[Shelf.READY]),
            delayed=len(queue.delayed),
            in_flight=sum(len(self.state.held_on(consumer, [name])) for consumer in self.state.held),
            suspects=len(queue.shelves[Shelf.SUSPECT]),
            quarantined=len(queue.shelves[Shelf.QUARANTINE]),
            dead=len(queue.dead),
        )

    def purge(self, queues: Sequence[str]) -> int:
        purged = 0
        with self.lock:
            for name in queues:
                queue = self.state.queue(name)
                heaps: list[list[Any]] = [*queue.shelves.values(), queue.delayed]
                for heap in heaps:
                    purged += len(heap)
                    heap.clear()
        return purged

    def peek(self, queue: str, limit: int = 100) -> list[bytes]:
        with self.lock:
            shelves = self.state.queue(queue).shelves
            waiting = itertools.chain(sorted(shelves[Shelf.SUSPECT]), heapq.nsmallest(limit, shelves[Shelf.READY]))
            return [entry.payload for entry in itertools.islice(waiting, limit)]

    def delayed(self, queue: str, limit: int = 100) -> list[tuple[float, bytes]]:
        with self.lock:
            soonest = heapq.nsmallest(limit, self.state.queue(queue).delayed)
            return [(due, entry.payload) for due, _, entry in soonest]

    def release(self, queue: str) -> int:
        with self.lock:
            return self.state.promote(queue, float("inf"), len(self.state.queue(queue).delayed))
