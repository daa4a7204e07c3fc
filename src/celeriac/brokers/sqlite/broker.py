"""The SQLite broker: every step of the port as one transaction on one file, shared by the processes of a machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from ...drivers.sqlite import Database, Step, locate
from ...errors import CeleriacError, FencedError, OperationalError
from .. import overflow
from ..base import Capabilities, Counts, Delivery, Opened, Outgoing, Shelf
from ..deleted import Deleted
from ..revocation import Revocation
from .consumer import Count, Held, Put, SQLiteConsumer
from .dead import DeadLetters, expire, next_chance, second_chances
from .entry import Waiting, enqueue, number_of, numbers_of, pack, topic
from .revoked import revocations, revoke
from .room import Room
from .sql import SQL
from .waiter import SQLiteWaiter

T = TypeVar("T")

#: Rows that one transaction deletes or moves at most when there may be millions.
_PORTION = 1000
#: Seconds between looks for dead letters that are too old.
_EXPIRY_LOOK = 30.0


class SQLiteBroker(DeadLetters):
    """`brokers.base.Broker`. `locate` says what its URLs mean."""

    capabilities = Capabilities(native_delay=True)

    def __init__(self, opened: Opened) -> None:
        self._database: Database = locate(opened.url, opened.options)
        self._connect_timeout = opened.connect_timeout
        self._timeout = opened.publish_timeout
        self.bounds = opened.bounds
        self.deleted = Deleted(opened.bounds)
        self._room = Room(opened.bounds)
        self._next_expiry = 0.0
        self._retained = False
        #: Stores records of settlements in the joined backend's tables.
        self.put: Put | None = None
        #: The same for members of chords.
        self.count_members: Count | None = None

    @property
    def path(self) -> str:
        """The absolute path of the file, for banners."""
        return str(self._database.path)

    def open(self) -> None:
        if not self._retained:
            self._database.retain()
            self._retained = True
        self._database.open(self._connect_timeout)

    def close(self) -> None:
        if not self._retained:
            self._database.retain()  # used without `open`, as clients do: what it connected is closed all the same
        self._retained = False
        self._database.release()

    def join(self, identity: tuple[str, Any], location: Mapping[str, Any]) -> bool:
        joined = identity == ("sqlite", str(self._database.path))
        self.put = location["put"] if joined else None
        self.count_members = location["count"] if joined else None
        return joined

    # -- steps, for this package --------------------------------------------------------------------------------

    def write(self, work: Callable[[Step], T], timeout: float | None = None) -> T:
        return self._database.write(work, self._timeout if timeout is None else min(timeout, self._timeout))

    def read(self, work: Callable[[Step], T]) -> T:
        return self._database.read(work, self._timeout)

    def forget_listener(self, address: str) -> None:
        """A listener is gone. Its row is only litter: whoever rings it in vain deletes it."""
        try:
            self.write(lambda step: step.execute(SQL.deaf, (address,)))
        except CeleriacError:
            pass

    # -- publishing ---------------------------------------------------------------------------------------------

    def declare(self, queues: Sequence[str]) -> None:
        self.write(lambda step: numbers_of(step, queues))

    def publish(self, messages: Sequence[Outgoing], timeout: float | None = None) -> None:
        if not messages:
            return
        parcels = pack(messages)
        more = overflow.adding(self.bounds, messages, delayed=True) if self.bounds.any_length else {}

        def work(step: Step) -> int:
            over = self._room.make(step, more) if more else {}
            enqueue(step, parcels)
            return self._room.drop(step, over) if over else 0

        try:
            self.deleted.note(self.write(work, timeout))
        except OperationalError as error:
            error.unsent = True  # a transaction that failed has left nothing behind
            raise

    # -- consumers and leases -----------------------------------------------------------------------------------

    def enlist(self, consumer: str, queues: Sequence[str]) -> None:

        def work(step: Step) -> None:
            step.many(SQL.enlist, [(consumer, queue) for queue in numbers_of(step, queues).values()])

        self.write(work)

    def consumer(self, name: str, queues: Sequence[str]) -> SQLiteConsumer:
        return SQLiteConsumer(self, name, queues)

    def renew(self, consumers: Sequence[str], queues: Sequence[str]) -> list[str]:

        def work(step: Step) -> list[str]:
            ids = numbers_of(step, queues).values()
            renewed = {
                consumer: sum(step.execute(SQL.renew, (consumer, queue)).rowcount for queue in ids)
                for consumer in consumers
            }
            return [consumer for consumer, count in renewed.items() if count < len(ids)]

        return self.write(work)

    def leases(self, queues: Sequence[str]) -> dict[str, int]:
        return self.read(lambda step: _counters(step, numbers_of(step, queues).values()))

    def recover(self, consumer: str, queues: Sequence[str], into: str, counter: int | None = None) -> list[Delivery]:

        def work(step: Step) -> list[Delivery]:
            names = _names(step, queues)
            counters = _counters(step, names)
            if counter is not None and counters.get(consumer) != counter:
                return []
            leased = {row[0] for row in step.execute(SQL.leased, (into,))}
            if not leased.issuperset(names):
                raise FencedError(f"The lease of {into} is gone")
            moved = _move(step, consumer, into, names)
            step.many(SQL.end_lease, [(consumer, queue) for queue in names])
            return moved

        return self.write(work)

    def held(self, consumer: str, queues: Sequence[str]) -> list[Delivery]:
        return self.read(lambda step: _held(step, consumer, _names(step, queues)))

    def give_back(self, consumer: str, queues: Sequence[str], after: int) -> int:
        return self.write(lambda step: _put_back(step, consumer, _names(step, queues), after))

    def dismiss(self, consumer: str, queues: Sequence[str]) -> None:

        def work(step: Step) -> None:
            names = _names(step, queues)
            _put_back(step, consumer, names, 0)
            step.many(SQL.end_lease, [(consumer, queue) for queue in names])

        self.write(work)

    # -- upkeep -------------------------------------------------------------------------------------------------

    def promote(self, queues: Sequence[str], limit: int = 1000) -> tuple[int, float | None]:
        moved, soonest = 0, self.read(lambda step: _soonest(step, queues))
        if soonest is not None and soonest <= time.time():
            moved, soonest = self.write(lambda step: self._promote(step, queues, time.time(), limit))
        self._expire_if_due()
        self._database.tidy(self._timeout)
        return moved, None if soonest is None else max(0.0, soonest - time.time())

    def _promote(self, step: Step, queues: Sequence[str], instant: float, limit: int) -> tuple[int, float | None]:
        moved = 0
        for queue in queues:
            moved += _promote(step, queue, instant, limit - moved)
            moved += second_chances(step, queue, instant, limit - moved, self.bounds)
        return moved, _soonest(step, queues)

    def _expire_if_due(self) -> None:
        """Dead letters may be a little older than they should: a look takes the file's lock."""
        if time.monotonic() >= self._next_expiry:
            self._next_expiry = time.monotonic() + _EXPIRY_LOOK
            more = True
            while more:
                more, gone = self.write(lambda step: expire(step, self.bounds))
                self.deleted.note(gone)

    def waiter(self, queues: Sequence[str]) -> SQLiteWaiter:
        return SQLiteWaiter(self, queues)

    # -- revocations --------------------------------------------------------------------------------------------

    def revoke(self, entries: Sequence[Revocation]) -> int:
        return self.write(lambda step: revoke(step, entries, self.bounds, time.time()))

    def revocations(self, since: int = 0) -> tuple[int, list[Revocation]]:
        return self.read(lambda step: revocations(step, since, self.bounds, time.time()))

    # -- looking and tidying ------------------------------------------------------------------------------------

    def count(self, queues: Sequence[str]) -> dict[str, Counts]:
        return self.read(lambda step: {name: _counts(step, queue) for name, queue in numbers_of(step, queues).items()})

    def quarantined(self, queues: Sequence[str]) -> int:
        def work(step: Step) -> int:
            shelves = [(queue, Shelf.QUARANTINE) for queue in numbers_of(step, queues).values()]
            return sum(int(step.execute(SQL.count_shelf, shelf).fetchone()[0]) for shelf in shelves)

        return self.read(work)

    def purge(self, queues: Sequence[str]) -> int:
        return sum(
            self._purge(statement, queue) for queue in queues for statement in (SQL.purge_waiting, SQL.purge_delayed)
        )

    def _purge(self, statement: str, queue: str) -> int:
        purged = 0
        while count := self.write(lambda step: _erase(step, statement, queue)):
            purged += count
        return purged

    def peek(self, queue: str, limit: int = 100) -> list[bytes]:
        def work(step: Step) -> list[bytes]:
            number, payloads = number_of(step, queue), list[bytes]()
            for shelf in (Shelf.SUSPECT, Shelf.READY):
                rows = step.execute(SQL.peek, (number, shelf.value, limit - len(payloads)))
                payloads += [row[0] for row in rows]
            return payloads

        return self.read(work)

    def delayed(self, queue: str, limit: int = 100) -> list[tuple[float, bytes]]:
        return self.read(lambda step: step.execute(SQL.delayed, (number_of(step, queue), limit)).fetchall())

    def release(self, queue: str) -> int:
        released = 0
        while moved := self.write(lambda step: _promote(step, queue, float("inf"), _PORTION)):
            released += moved
        return released


# -- steps ------------------------------------------------------------------------------------------------------------


def _names(step: Step, queues: Sequence[str]) -> dict[int, str]:
    return {number: queue for queue, number in numbers_of(step, queues).items()}


def _counters(step: Step, queues: Collection[int]) -> dict[str, int]:
    counters: dict[str, int] = {}
    for consumer, queue, counter in step.execute(SQL.counters):
        if queue in queues:
            counters[consumer] = counters.get(consumer, 0) + counter
    return counters


def _holdings(step: Step, consumer: str, queues: Collection[int], after: int = 0) -> list[Held]:
    rows = [Held(*row) for row in step.execute(SQL.holdings, (consumer,))]
    return [row for row in rows if row.queue in queues and row.receipt > after]


def _move(step: Step, consumer: str, into: str, names: Mapping[int, str]) -> list[Delivery]:
    rows = _holdings(step, consumer, names)
    moved = []
    for receipt, row in zip(step.numbers(len(rows)), rows, strict=True):
        step.execute(SQL.let_go, (consumer, row.receipt))
        step.execute(SQL.hold, (into, receipt, *row[1:]))
        payload = step.execute(SQL.payload, (row.message,)).fetchone()[0]
        moved.append(Delivery(names[row.queue], receipt, payload, row.strikes, Shelf(row.shelf), row.receipt, consumer))
    return moved


def _held(step: Step, consumer: str, names: Mapping[int, str]) -> list[Delivery]:
    found = []
    for row in _holdings(step, consumer, names):
        payload = step.execute(SQL.payload, (row.message,)).fetchone()[0]
        found.append(Delivery(names[row.queue], row.receipt, payload, row.strikes, Shelf(row.shelf)))
    return found


def _put_back(step: Step, consumer: str, names: Mapping[int, str], after: int) -> int:
    """Returns the last receipt given to anyone: what the consumer reserves from now on has a higher one."""
    rows = _holdings(step, consumer, names, after)
    step.many(SQL.let_go, [(consumer, row.receipt) for row in rows])
    step.many(SQL.wait, [row[1:] for row in rows])
    step.topics |= {topic(names[row.queue]) for row in rows}
    last: int = step.execute(SQL.last_number).fetchone()[0]
    return last


def _soonest(step: Step, queues: Sequence[str]) -> float | None:
    rows = (step.execute(SQL.next_due, (number_of(step, queue),)).fetchone() for queue in queues)
    dues = [row[0] for row in rows if row is not None]
    return min([*dues, *(due for queue in queues if (due := next_chance(step, queue)) is not None)], default=None)


def _promote(step: Step, name: str, instant: float, limit: int) -> int:
    """Due messages are queued behind what waits already, as if published now."""
    queue = number_of(step, name)
    rows = step.execute(SQL.due, (queue, instant, limit)).fetchall()
    if not rows:
        return 0
    step.execute(SQL.promoted, (queue, rows[-1][0], rows[-1][1]))
    places = step.numbers(len(rows))
    waiting = [
        Waiting(queue, Shelf.READY, priority, place, message, strikes)
        for place, (_, message, priority, strikes) in zip(places, rows, strict=True)
    ]
    step.many(SQL.wait, waiting)
    step.topics.add(topic(name))
    return len(rows)


def _counts(step: Step, queue: int) -> Counts:
    shelves = dict(step.execute(SQL.count_waiting, (queue,)).fetchall())
    return Counts(
        ready=shelves.get(Shelf.READY, 0),
        delayed=step.execute(SQL.count_delayed, (queue,)).fetchone()[0],
        in_flight=step.execute(SQL.count_held, (queue,)).fetchone()[0],
        suspects=shelves.get(Shelf.SUSPECT, 0),
        quarantined=shelves.get(Shelf.QUARANTINE, 0),
        dead=step.execute(SQL.count_dead, (queue,)).fetchone()[0],
    )


def _erase(step: Step, statement: str, queue: str) -> int:
    erased = step.execute(statement, (number_of(step, queue), _PORTION)).fetchall()
    step.many(SQL.erase_message, erased)
    step.many(SQL.unstruck, erased)
    return len(erased)
