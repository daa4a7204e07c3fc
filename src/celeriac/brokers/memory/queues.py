"""The state of memory queues, and every rule of the port about it. The lock of the space is held."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import structs

from ...errors import FencedError
from ...foundation.identifiers import uuid4_text
from ...wire import envelope
from ...wire.message import Record
from .. import history, overflow
from ..base import DeadLetter, Delivery, Member, Outgoing, Settlement, Shelf, Verdict
from ..bounds import Bounds
from .revoked import Revoked

#: Celery on Redis: 0 is taken first, 9 last, and none given means 0.
LOWEST = 9
#: What counts for a queue's limit.
_COUNTED = (Shelf.READY, Shelf.SUSPECT)


@dataclass(order=True, slots=True)
class Entry:
    """A message in a queue. A place once given is kept: what comes back is taken before what came later."""

    priority: int
    place: int
    payload: bytes = field(compare=False)
    strikes: int = field(default=0, compare=False)
    #: When it was struck; see `history`.
    history: str = field(default="", compare=False)


@dataclass(slots=True)
class Past:
    """What happened to a task that was dead and is in its queue again."""

    since: float
    requeues: int
    history: str


class Listener(Protocol):
    def told(self, queue: str) -> None: ...


@dataclass(slots=True)
class Queue:
    shelves: dict[Shelf, list[Entry]] = field(default_factory=lambda: {shelf: [] for shelf in Shelf})
    #: (due, place, entry): a heap.
    delayed: list[tuple[float, int, Entry]] = field(default_factory=list)
    #: The oldest first.
    dead: dict[str, tuple[DeadLetter, Entry]] = field(default_factory=dict)
    past: dict[str, Past] = field(default_factory=dict)


class Queues:
    """See the module."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.leases: dict[tuple[str, str], int] = {}
        self.held: dict[str, dict[int, tuple[Delivery, Entry]]] = {}
        self.waiters: set[Listener] = set()
        self.revoked = Revoked()
        self._places = itertools.count(1)
        #: The last one given to anyone.
        self.receipt = 0

    def queue(self, name: str) -> Queue:
        return self.queues.setdefault(name, Queue())

    # -- what waits ---------------------------------------------------------------------------------------------

    def publish(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            priority = min(max(message.priority or 0, 0), LOWEST)
            payload = envelope.encode(message.message, message.queue, uuid4_text())
            entry = Entry(priority, next(self._places), payload)
            if message.due is None:
                self.shelve(message.queue, entry)
            else:
                self.put_off(message.queue, entry, message.due)

    def publish_bounded(self, messages: Sequence[Outgoing], bounds: Bounds, now: float) -> int:
        """All or none, where queues have limits. Returns how many dead letters had to go. Raises: QueueFull."""
        more, gone = overflow.adding(bounds, messages, delayed=True), 0
        lengths = {name: sum(len(self.queue(name).shelves[shelf]) for shelf in _COUNTED) for name in more}
        over = overflow.surplus(bounds, more, lengths)
        self.publish(messages)
        for name, count in over.items():
            ready = self.queue(name).shelves[Shelf.READY]
            for entry in sorted(ready, key=lambda entry: (-entry.priority, entry.place))[:count]:
                ready.remove(entry)
                settlement = overflow.dropped(entry.payload, bounds.length_of(name) or 0)
                gone += self._bury(settlement, name, entry, now, bounds)
            heapq.heapify(ready)
        return gone

    def shelve(self, name: str, entry: Entry, shelf: Shelf = Shelf.READY) -> None:
        heapq.heappush(self.queue(name).shelves[shelf], entry)
        for waiter in self.waiters:
            waiter.told(name)

    def put_off(self, name: str, entry: Entry, due: float) -> None:
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

    def dues(self, name: str) -> list[float]:
        """When there is next something to promote or to send again."""
        queue = self.queue(name)
        again = [letter.again for letter, _ in queue.dead.values() if letter.again is not None]
        return [due for due, _, _ in queue.delayed[:1]] + again

    # -- reserving ----------------------------------------------------------------------------------------------

    def reserve(self, consumer: str, name: str, shelf: Shelf) -> Delivery:
        """Move the next message of a shelf that is not empty to the consumer."""
        entry = heapq.heappop(self.queue(name).shelves[shelf])
        return self.hold(consumer, name, shelf, entry)

    def hold(self, consumer: str, name: str, shelf: Shelf, entry: Entry, was: int = 0, of: str = "") -> Delivery:
        self.receipt += 1
        delivery = Delivery(name, self.receipt, entry.payload, entry.strikes, shelf, was, of)
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

    def settle(
        self,
        consumer: str,
        settlement: Settlement,
        put: Callable[[Record], None] | None,
        now: float,
        bounds: Bounds,
        count: Callable[[Member], bool] | None = None,
    ) -> tuple[bool, int]:
        """(False, 0), with nothing done, if the delivery is no longer this consumer's; else True, and how many dead
        letters had to go."""
        gone = 0
        if settlement.delivery is not None:
            found = self.held.get(consumer, {}).pop(settlement.delivery.receipt, None)
            if found is None:
                return False, 0
            gone = self._apply(consumer, settlement, *found, now, bounds)
        if put is not None:
            for record in settlement.also if settlement.record is None else (settlement.record, *settlement.also):
                put(record)
        self.publish(settlement.follow_ups)
        if count is not None:
            self.publish([member.fire for member in settlement.members if count(member)])
        return True, gone

    def _apply(
        self, consumer: str, settlement: Settlement, delivery: Delivery, entry: Entry, now: float, bounds: Bounds
    ) -> int:
        verdict = settlement.verdict
        if verdict in (Verdict.REQUEUE, Verdict.DEAD) and settlement.strikes > entry.strikes:
            strike = history.entry(now, history.STRIKE, delivery.of or consumer)
            entry.strikes, entry.history = settlement.strikes, history.joined(entry.history, strike)
        if verdict is Verdict.REQUEUE:
            entry.strikes = settlement.strikes
            self.shelve(delivery.queue, entry, settlement.shelf)
        elif verdict is Verdict.PUT_OFF:
            self.put_off(delivery.queue, entry, settlement.due)
        elif verdict is Verdict.DEAD:
            return self._bury(settlement, delivery.queue, entry, now, bounds)
        return 0

    # -- dead letters -------------------------------------------------------------------------------------------

    def _bury(self, settlement: Settlement, name: str, entry: Entry, now: float, bounds: Bounds) -> int:
        queue = self.queue(name)
        past = queue.past.pop(history.name_of(settlement.task_id, entry.payload), Past(now, 0, ""))
        again = settlement.again_after > 0 and past.requeues < settlement.again_most
        letter = DeadLetter(
            id=str(next(self._places)),
            queue=name,
            payload=entry.payload,
            reason=settlement.reason,
            detail=settlement.detail,
            task=settlement.task,
            task_id=settlement.task_id,
            since=now,
            strikes=entry.strikes,
            traceback=settlement.traceback,
            history=history.read(past.history, entry.history),
            requeues=past.requeues,
            again=now + settlement.again_after if again else None,
        )
        queue.dead[letter.id] = (letter, entry)
        return self.forget_dead(name, bounds, now)

    def forget_dead(self, name: str, bounds: Bounds, now: float) -> int:
        """Delete what is beyond the bounds. Returns how many there were too many of."""
        queue, gone = self.queue(name), 0
        for forgotten in (queue.dead, queue.past):
            while forgotten:
                oldest = next(iter(forgotten))
                found = forgotten[oldest]
                since = found.since if isinstance(found, Past) else found[0].since
                surplus = len(forgotten) > bounds.dead_letter_max
                if not surplus and since >= now - bounds.dead_letter_expires:
                    break
                gone += surplus and forgotten is queue.dead
                del forgotten[oldest]
        return gone

    def unbury(self, name: str, letter_id: str, now: float, due: float, what: str, by: str = "") -> bool:
        """A dead letter's message as if published now, or put off until it is due; its strikes forgotten."""
        queue = self.queue(name)
        found = queue.dead.pop(letter_id, None)
        if found is None:
            return False
        letter, entry = found
        told = history.joined(
            history.write(letter.history), history.entry(letter.since, letter.reason), history.entry(now, what, by)
        )
        past = Past(now, letter.requeues + (what == history.AGAIN), told)
        key = history.name_of(letter.task_id, letter.payload)
        queue.past.pop(key, None)
        queue.past[key] = past
        entry.place, entry.strikes, entry.history, entry.payload = next(self._places), 0, "", letter.payload
        if due > now:
            self.put_off(name, entry, due)
        else:
            self.shelve(name, entry)
        return True

    def second_chances(self, name: str, now: float, limit: int) -> int:
        """Send again what is due to be."""
        due = [letter.id for letter, _ in self.queue(name).dead.values() if letter.again and letter.again <= now]
        return sum(self.unbury(name, letter_id, now, 0.0, history.AGAIN) for letter_id in due[:limit])

    def keep_dead(self, letter: DeadLetter, told: str) -> str:
        """A letter from elsewhere, in its place by age."""
        dead = self.queue(letter.queue).dead
        kept = structs.replace(
            letter, id=str(next(self._places)), history=history.read(history.write(letter.history), told), again=None
        )
        dead[kept.id] = (kept, Entry(0, next(self._places), letter.payload, letter.strikes))
        self.queue(letter.queue).dead = dict(sorted(dead.items(), key=lambda item: item[1][0].since))
        return kept.id
