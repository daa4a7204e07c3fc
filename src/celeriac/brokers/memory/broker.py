"""Queues in this process's memory: the reference of the broker port. Simple, exact, thread-safe, seen by no one else.

One lock for everything: what the port calls one step is one block under it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from ...drivers import memory as driver
from ...errors import FencedError
from ...foundation.identifiers import uuid4_text
from ...wire import envelope
from ...wire.message import Record
from ..base import (
    Capabilities,
    Counts,
    DeadLetter,
    Delivery,
    Opened,
    Outgoing,
    Settlement,
    Shelf,
    Turn,
    Verdict,
)
from ..revocation import Revocation
from .revoked import Revoked

#: Celery on Redis: 0 is taken first, 9 last, and none given means 0.
LOWEST = 9


@dataclass(order=True, slots=True)
class _Entry:
    """A message in a queue. A place once given is kept: what comes back is taken before what came later."""

    priority: int
    place: int
    payload: bytes = field(compare=False)
    strikes: int = field(default=0, compare=False)


@dataclass(slots=True)
class _Queue:
    shelves: dict[Shelf, list[_Entry]] = field(default_factory=lambda: {shelf: [] for shelf in Shelf})
    #: (due, place, entry): a heap.
    delayed: list[tuple[float, int, _Entry]] = field(default_factory=list)
    dead: dict[str, tuple[DeadLetter, _Entry]] = field(default_factory=dict)


class Queues:
    """The state and every rule of the port. All methods are called with the space's lock held."""

    def __init__(self) -> None:
        self.queues: dict[str, _Queue] = {}
        self.leases: dict[tuple[str, str], int] = {}
        self.held: dict[str, dict[int, tuple[Delivery, _Entry]]] = {}
        self.waiters: set[MemoryWaiter] = set()
        self.revoked = Revoked()
        self._places = itertools.count(1)
        #: The last one given to anyone.
        self.receipt = 0

    def queue(self, name: str) -> _Queue:
        return self.queues.setdefault(name, _Queue())

    # -- what waits ---------------------------------------------------------------------------------------------

    def publish(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            priority = min(max(message.priority or 0, 0), LOWEST)
            payload = envelope.encode(message.message, message.queue, uuid4_text())
            entry = _Entry(priority, next(self._places), payload)
            if message.due is None:
                self.shelve(message.queue, entry)
            else:
                self.put_off(message.queue, entry, message.due)

    def shelve(self, name: str, entry: _Entry, shelf: Shelf = Shelf.READY) -> None:
        heapq.heappush(self.queue(name).shelves[shelf], entry)
        for waiter in self.waiters:
            waiter.told(name)

    def requeue(self, name: str, entry: _Entry) -> None:
        """A dead letter's message as if published now, its strikes forgotten."""
        entry.place, entry.strikes = next(self._places), 0
        self.shelve(name, entry)

    def put_off(self, name: str, entry: _Entry, due: float) -> None:
        heapq.heappush(self.queue(name).delayed, (due, entry.place, entry))

    def promote(self, name: str, now: float, limit: int) -> int:
        """Due messages are queued again behind what waits already, as if published now."""
        delayed, moved = self.queue(name).delayed, 0
        while delayed and delayed[0][0] <= now and moved < limit:
            entry = heapq.heappop(delayed)[2]
            entry.place = next(self._places)
            self.shelve(name, entry)
            moved += 1
        return moved

    # -- reserving ----------------------------------------------------------------------------------------------

    def reserve(self, consumer: str, name: str, shelf: Shelf) -> Delivery:
        """Move the next message of a shelf that is not empty to the consumer."""
        entry = heapq.heappop(self.queue(name).shelves[shelf])
        return self.hold(consumer, name, shelf, entry)

    def hold(self, consumer: str, name: str, shelf: Shelf, entry: _Entry, was: int = 0) -> Delivery:
        self.receipt += 1
        delivery = Delivery(name, self.receipt, entry.payload, entry.strikes, shelf, was)
        self.held.setdefault(consumer, {})[delivery.receipt] = (delivery, entry)
        return delivery

    def put_back(self, consumer: str, receipts: Sequence[int]) -> None:
        """To the shelves they came from, each at its old place."""
        held = self.held.get(consumer, {})
        for receipt in receipts:
            delivery, entry = held.pop(receipt)
            self.shelve(delivery.queue, entry, delivery.shelf)

    # -- leases -------------------------------------------------------------------------------------------------

    def fence(self, consumer: str, queues: Iterable[str]) -> None:
        if any((consumer, queue) not in self.leases for queue in queues):
            raise FencedError(f"The lease of {consumer} is gone")

    def held_on(self, consumer: str, queues: Iterable[str]) -> list[int]:
        """Receipts of what the consumer holds of these queues, in order."""
        wanted = set(queues)
        return [receipt for receipt, (delivery, _) in self.held.get(consumer, {}).items() if delivery.queue in wanted]

    # -- settling -----------------------------------------------------------------------------------------------

    def settle(self, consumer: str, settlement: Settlement, put: Callable[[Record], None] | None, now: float) -> bool:
        """False, with nothing done, if the delivery is no longer this consumer's."""
        if settlement.delivery is not None:
            found = self.held.get(consumer, {}).pop(settlement.delivery.receipt, None)
            if found is None:
                return False
            self._apply(settlement, *found, now)
        if settlement.record is not None and put is not None:
            put(settlement.record)
        self.publish(settlement.follow_ups)
        return True

    def _apply(self, settlement: Settlement, delivery: Delivery, entry: _Entry, now: float) -> None:
        verdict = settlement.verdict
        if verdict is Verdict.REQUEUE:
            entry.strikes = settlement.strikes
            self.shelve(delivery.queue, entry, settlement.shelf)
        elif verdict is Verdict.PUT_OFF:
            self.put_off(delivery.queue, entry, settlement.due)
        elif verdict is Verdict.DEAD:
            self._bury(settlement, delivery, entry, now)

    def _bury(self, settlement: Settlement, delivery: Delivery, entry: _Entry, now: float) -> None:
        letter = DeadLetter(
            id=uuid4_text(),
            queue=delivery.queue,
            payload=delivery.payload,
            reason=settlement.reason,
            detail=settlement.detail,
            task=settlement.task,
            task_id=settlement.task_id,
            since=now,
            strikes=max(delivery.strikes, settlement.strikes),
        )
        self.queue(delivery.queue).dead[letter.id] = (letter, entry)


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
        refused = [s.delivery.receipt for s in settlements if not state.settle(self.name, s, put, now) and s.delivery]
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

    def _next_queues(self, shelf: Shelf) -> Iterator[tuple[str, _Entry]]:
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


class MemoryBroker:
    """`brokers.base.Broker` in memory. Brokers of one URL share their queues."""

    capabilities = Capabilities(native_delay=True, shared=False)

    def __init__(self, opened: Opened, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._bounds = opened.bounds
        self._space = driver.space(opened.url)
        self.lock = self._space.lock
        self.state = self._space.store("queues", Queues)
        #: Stores a record in the joined backend.
        self.put: Callable[[Record], None] | None = None

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to release: the queues stay with the process."""

    def join(self, identity: tuple[str, Any], location: Mapping[str, Any]) -> bool:
        self.put = location["put"] if identity == ("memory", self._space.name) else None
        return self.put is not None

    def declare(self, queues: Sequence[str]) -> None:
        with self.lock:
            for name in queues:
                self.state.queue(name)

    def publish(self, messages: Sequence[Outgoing], timeout: float | None = None) -> None:
        with self.lock:
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
                moved.append(state.hold(into, delivery.queue, delivery.shelf, entry, receipt))
            self._end(consumer, queues)
            return moved

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
                moved += self.state.promote(name, now, limit - moved)
            dues = [delayed[0][0] for name in queues if (delayed := self.state.queue(name).delayed)]
            return moved, max(0.0, min(dues) - now) if dues else None

    def waiter(self, queues: Sequence[str]) -> MemoryWaiter:
        return MemoryWaiter(self, queues)

    # -- revocations --------------------------------------------------------------------------------------------

    def revoke(self, entries: Sequence[Revocation]) -> int:
        with self.lock:
            return self.state.revoked.add(entries, self._bounds, self.clock())

    def revocations(self, since: int = 0) -> tuple[int, list[Revocation]]:
        with self.lock:
            return self.state.revoked.newer(since, self._bounds, self.clock())

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

    def dead_letters(self, queues: Sequence[str], limit: int = 100) -> list[DeadLetter]:
        with self.lock:
            letters = [letter for name in queues for letter, _ in reversed(self.state.queue(name).dead.values())]
            return sorted(letters, key=attrgetter("since"), reverse=True)[:limit]

    def requeue_dead(self, queue: str, ids: Sequence[str]) -> list[str]:
        with self.lock:
            dead = self.state.queue(queue).dead
            found = [letter_id for letter_id in dict.fromkeys(ids) if letter_id in dead]
            for letter_id in found:
                self.state.requeue(queue, dead.pop(letter_id)[1])
            return found
