"""A consumer's turn on the SQLite file: settle what is done and reserve what comes next, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...drivers.sqlite import Step
from ...errors import BrokerError, CeleriacError, FencedError, OperationalError
from ...wire.message import Record
from .. import history
from ..base import Delivery, Member, Settlement, Shelf, Turn, Verdict
from ..bounds import Bounds
from .dead import Corpse, bury
from .entry import LOWEST, Parcel, Waiting, enqueue, numbers_of, pack, topic
from .sql import SQL

if TYPE_CHECKING:
    from .broker import SQLiteBroker

#: Stores records inside the step that it is given.
Put = Callable[[Step, Sequence[Record]], None]
#: Counts members of chords inside the step that it is given; returns those that have made theirs complete.
Count = Callable[[Step, Sequence[Member]], list[Member]]


class Held(NamedTuple):
    """A row of the table `held`, but for its consumer."""

    receipt: int
    queue: int
    shelf: int
    priority: int
    place: int
    message: int
    strikes: int


class Settling:
    """The settlements of one turn, gathered row by row and written with few statements."""

    def __init__(self, consumer: str, held: Mapping[int, Held], now: float) -> None:
        self._consumer = consumer
        self._held = dict(held)
        self._now = now
        self.refused: list[int] = []
        self._let_go: list[tuple[str, int]] = []
        self._erased: list[tuple[int]] = []
        self._waiting: list[Waiting] = []
        self._delayed: list[tuple[int, float, int, int, int]] = []
        self._dead: list[Corpse] = []
        #: (message, what struck it), and messages whose strikes are over.
        self._struck: list[tuple[int, str]] = []
        self._unstruck: list[tuple[int]] = []
        self._records: list[Record] = []
        self._members: list[Member] = []
        self._parcels: list[Parcel] = []
        self._topics: set[str] = set()

    def add(self, settlement: Settlement, parcels: Sequence[Parcel]) -> None:
        delivery = settlement.delivery
        if delivery is not None:
            held = self._held.pop(delivery.receipt, None)
            if held is None:
                self.refused.append(delivery.receipt)
                return
            self._let_go.append((self._consumer, delivery.receipt))
            if settlement.verdict is Verdict.DONE:
                self._erased.append((held.message,))
                if held.strikes:
                    self._unstruck.append((held.message,))
            else:
                self._keep(settlement, delivery, held)
        if settlement.record is not None:
            self._records.append(settlement.record)
        if settlement.members or settlement.also:
            self._members += settlement.members
            self._records += settlement.also
        self._parcels += parcels

    def _keep(self, settlement: Settlement, delivery: Delivery, held: Held) -> None:
        strike = ""
        if settlement.strikes > held.strikes and settlement.verdict is not Verdict.PUT_OFF:
            strike = history.entry(self._now, history.STRIKE, delivery.of or self._consumer)
        if settlement.verdict is Verdict.REQUEUE:
            _, queue, _, priority, place, message, _ = held
            self._waiting.append(Waiting(queue, settlement.shelf, priority, place, message, settlement.strikes))
            self._topics.add(topic(delivery.queue))
            if strike:
                self._struck.append((message, strike))
            elif held.strikes and not settlement.strikes:
                self._unstruck.append((message,))
        elif settlement.verdict is Verdict.PUT_OFF:
            self._delayed.append((held.queue, settlement.due, held.message, held.priority, held.strikes))
        else:
            strikes = max(held.strikes, settlement.strikes)
            row = (held.queue, held.message, delivery.payload, held.priority, strikes)
            self._dead.append(Corpse(settlement, *row, strike))

    def write(self, step: Step, put: Put | None, count: Count | None, bounds: Bounds) -> int:
        """Returns how many dead letters had to go."""
        step.topics |= self._topics
        for statement, rows in (
            (SQL.let_go, self._let_go),
            (SQL.erase_message, self._erased),
            (SQL.wait, self._waiting),
            (SQL.delay, self._delayed),
            (SQL.unstruck, self._unstruck),
        ):
            if rows:
                step.many(statement, rows)
        for message, strike in self._struck:
            (known,) = step.execute(SQL.struck, (message,)).fetchone() or ("",)
            step.execute(SQL.strike, (message, history.joined(known, strike)))
        gone = bury(step, self._dead, bounds, self._now) if self._dead else 0
        if self._members and count is not None:  # what they publish is encoded here: it is one message a chord
            self._parcels += pack([member.fire for member in count(step, self._members)])
        if self._parcels:
            enqueue(step, self._parcels)
        if self._records and put is not None:
            put(step, self._records)
        return gone

    def left(self) -> Iterable[Held]:
        """What the consumer still holds."""
        return self._held.values()


class SQLiteConsumer:
    """`brokers.base.Consumer`: the transaction is over when `send` returns, its answer kept for `receive`."""

    def __init__(self, broker: SQLiteBroker, name: str, queues: Sequence[str]) -> None:
        self.name = name
        self._broker = broker
        self._queues = list(queues)
        self._answer: Turn | CeleriacError | None = None
        #: Sent, and not stored because the file could not be written: they go first in the next call.
        self._unsettled: list[Settlement] = []

    def send(
        self,
        settlements: Sequence[Settlement],
        limit: int,
        *,
        max_bytes: int = 0,
        shelf: Shelf = Shelf.READY,
    ) -> None:
        self._unsettled += settlements
        try:
            self._answer = self._turn(limit, max_bytes, shelf)
            self._unsettled.clear()
        except FencedError as error:
            self._answer = error
            self._unsettled.clear()
        except OperationalError as error:
            self._answer = error
        except (CeleriacError, UnicodeError) as error:  # refused, and nothing done: what was sent is the caller's again
            refused = error if isinstance(error, CeleriacError) else None
            self._answer = refused or BrokerError(f"a settlement cannot be written: {error}")
            del self._unsettled[len(self._unsettled) - len(settlements) :]

    def receive(self) -> Turn:
        answer, self._answer = self._answer, None
        if isinstance(answer, Turn):
            return answer
        raise answer or RuntimeError("receive() without send()")

    def close(self) -> None:
        """The connection is the broker's."""

    def _turn(self, limit: int, max_bytes: int, shelf: Shelf) -> Turn:
        settlements = [(settlement, pack(settlement.follow_ups)) for settlement in self._unsettled]

        gone = [0]

        def work(step: Step) -> Turn:
            queues = numbers_of(step, self._queues)
            revision = self._fence(step, queues)
            held = {row[0]: Held(*row) for row in step.execute(SQL.holdings, (self.name,))}
            now = time.time()
            settling = Settling(self.name, held, now)
            for settlement, parcels in settlements:
                settling.add(settlement, parcels)
            gone[:] = [settling.write(step, self._broker.put, self._broker.count_members, self._broker.bounds)]
            if limit <= 0:
                return Turn([], tuple(settling.refused), now, False, revision)
            beside = {row.shelf for row in settling.left()}
            reserving = Reserving(step, self.name, self._queues, queues)
            deliveries, suspects = reserving.take(shelf, beside, limit, max_bytes)
            return Turn(deliveries, tuple(settling.refused), now, suspects, revision)

        turn = self._broker.write(work)
        self._broker.deleted.note(gone[0])
        self._rotate(turn.deliveries)
        return turn

    def _fence(self, step: Step, queues: Mapping[str, int]) -> int:
        """Returns the newest revision of the revocations."""
        leased = dict(step.execute(SQL.leased, (self.name,)).fetchall())
        if any(queues[name] not in leased for name in self._queues):
            raise FencedError(f"The lease of {self.name} is gone")
        return next(iter(leased.values()), 0) or 0

    def _rotate(self, deliveries: Sequence[Delivery]) -> None:
        """Queues that were served are asked last next time."""
        if len(self._queues) > 1:
            served = dict.fromkeys(delivery.queue for delivery in deliveries)
            self._queues = [name for name in self._queues if name not in served] + list(served)


class Reserving:
    """Takes messages for one consumer inside a step."""

    def __init__(self, step: Step, consumer: str, names: Sequence[str], ids: Mapping[str, int]) -> None:
        self._step = step
        self._consumer = consumer
        self._names = names
        self._ids = ids

    def take(self, shelf: Shelf, held: set[int], limit: int, max_bytes: int) -> tuple[list[Delivery], bool]:
        """The deliveries, and whether suspects wait. `held`: shelves of what the consumer holds already."""
        if shelf is Shelf.QUARANTINE:
            return ([] if held else self._alone(Shelf.QUARANTINE)), False
        suspects = [name for name in self._names if self._head(name, Shelf.SUSPECT) is not None]
        if suspects and not held:
            return self._alone(Shelf.SUSPECT), len(suspects) > 1 or self._head(suspects[0], Shelf.SUSPECT) is not None
        if held - {Shelf.READY}:
            return [], bool(suspects)  # what runs alone has nothing beside it
        return self._ready(limit, max_bytes), bool(suspects)

    def _head(self, name: str, shelf: Shelf) -> int | None:
        row = self._step.execute(SQL.head, (self._ids[name], shelf.value)).fetchone()
        return None if row is None else row[0]

    def _alone(self, shelf: Shelf) -> list[Delivery]:
        for name in self._names:
            deliveries = self._from(name, shelf, LOWEST, 1, 0)
            if deliveries:
                return deliveries
        return []

    def _ready(self, limit: int, max_bytes: int) -> list[Delivery]:
        if len(self._names) == 1:
            return self._from(self._names[0], Shelf.READY, LOWEST, limit, max_bytes)
        deliveries: list[Delivery] = []
        room = max_bytes
        while len(deliveries) < limit:
            taken = self._round(limit - len(deliveries), room, bool(deliveries))
            deliveries += taken
            room -= sum(len(delivery.payload) for delivery in taken)
            if not taken or (max_bytes and room <= 0):
                break
        return deliveries

    def _round(self, limit: int, max_bytes: int, some: bool) -> list[Delivery]:
        """From the queues whose next message goes first by priority, a fair share each."""
        heads = {name: head for name in self._names if (head := self._head(name, Shelf.READY)) is not None}
        level = min(heads.values(), default=None)
        names = [name for name, head in heads.items() if head == level]
        deliveries: list[Delivery] = []
        for left, name in zip(range(len(names), 0, -1), names, strict=True):
            share = -(-(limit - len(deliveries)) // left)
            if share:
                deliveries += self._from(name, Shelf.READY, level or 0, share, max_bytes)
        return deliveries

    def _from(self, name: str, shelf: Shelf, level: int, limit: int, max_bytes: int) -> list[Delivery]:
        queue, size = self._ids[name], 0
        chosen: list[tuple[int, int, int, int, bytes]] = []
        cursor = self._step.execute(SQL.next, (queue, shelf.value, level, limit))
        for row in cursor:
            size += len(row[4])
            if chosen and 0 < max_bytes < size:
                break
            chosen.append(row)
        cursor.close()
        if not chosen:
            return []
        receipts = self._step.numbers(len(chosen))
        self._step.execute(SQL.taken, (queue, shelf.value, chosen[-1][0], chosen[-1][1]))
        self._step.many(
            SQL.hold,
            [
                (self._consumer, receipt, queue, shelf.value, priority, place, message, strikes)
                for receipt, (priority, place, message, strikes, _) in zip(receipts, chosen, strict=True)
            ],
        )
        return [
            Delivery(name, receipt, payload, strikes, shelf)
            for receipt, (_, _, _, strikes, payload) in zip(receipts, chosen, strict=True)
        ]
