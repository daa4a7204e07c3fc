"""Results in a SQLite file, shared by the processes of a machine; beside the queues, when both URLs name one file.

A watch is woken by a datagram that carries nothing, and reads what was written since it last looked: a datagram that is
lost delays a result by the watch's slow look, and cannot lose it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ..drivers.sqlite import Database, Ear, Heard, Step, locate
from ..errors import CeleriacError
from ..wire.message import Record
from . import sqlite_chords as chords
from .base import Opened, Part
from .sqlite_rows import SQL, key

T = TypeVar("T")

TOPIC = "results"
#: Rows that one step of expiry looks at.
_PORTION = 500
#: Rows that a watch reads in one step.
_PAGE = 1000
#: Seconds between a watch's looks while nothing is heard.
LOOK = 1.0


#: Groups that are kept stand among the results, under names that no task has.
_GROUP = "celery-taskset-meta-"


def put(step: Step, records: Sequence[Record]) -> None:
    """Store the records inside a step: the backend's own, or that of a joined broker's settlement."""
    now, rows = time.time(), []
    for number, record in zip(step.numbers(len(records)), records, strict=True):
        task, expires = key(record.task_id), None if record.expires is None else now + record.expires
        row = (number, task, record.final, expires, record.document)
        if record.final:
            rows.append(row)
            continue
        step.many(SQL.put, rows)  # what came before it in this call may be final
        rows.clear()
        if step.execute(SQL.is_final, (task, now)).fetchone() is None:
            step.execute(SQL.put, row)
    step.many(SQL.put, rows)
    step.topics.add(TOPIC)


class Expiry:
    """Deletes what has expired, oldest first, a bounded portion at a time; begins anew at the end of the table."""

    def __init__(self) -> None:
        self._after = 0

    def __call__(self, step: Step) -> bool:
        rows = step.execute(SQL.oldest, (self._after, _PORTION)).fetchall()
        now = time.time()
        gone = [(number,) for number, expires in rows if expires is not None and expires <= now]
        step.many(SQL.expire, gone)
        self._after = rows[-1][0] if len(rows) == _PORTION else 0
        # Most results live equally long: behind a portion that has nothing to expire lies none that has.
        return len(rows) == _PORTION and bool(gone)


class SQLiteBackend:
    """`backends.base.Backend`. `drivers.sqlite.locate` says what its URLs mean."""

    def __init__(self, opened: Opened) -> None:
        self._database: Database = locate(opened.url, opened.options)
        self._timeout = opened.connect_timeout
        self._expiry = Expiry()
        self._stored = 0
        self._retained = False

    def open(self) -> None:
        if not self._retained:
            self._database.retain()
            self._database.tidiers |= {self._expiry, chords.expire}
            self._retained = True
        self._database.open(self._timeout)

    def close(self) -> None:
        if not self._retained:
            self._database.retain()  # used without `open`, as clients do: what it connected is closed all the same
        self._retained = False
        self._database.tidiers.discard(self._expiry)
        self._database.release()

    @property
    def identity(self) -> tuple[str, Any]:
        return ("sqlite", str(self._database.path))

    @property
    def location(self) -> Mapping[str, Any]:
        """How a joined broker stores records, and counts members of chords, inside its own step."""
        return {"put": put, "count": chords.count}

    def put_many(self, records: Sequence[Record]) -> None:
        if not records:
            return
        self.write(lambda step: put(step, records))
        self._stored += len(records)
        if self._stored >= _PORTION:  # no broker's upkeep may be there to do it
            self._stored = 0
            self.write(self._expiry)

    def get_many(self, ids: Sequence[str]) -> dict[str, bytes]:
        return self.read(lambda step: documents(step, ids))

    def forget(self, ids: Sequence[str]) -> None:
        rows = [(key(task_id),) for task_id in ids]
        self.write(lambda step: step.many(SQL.forget, rows))

    # -- groups -------------------------------------------------------------------------------------------------

    def begin_group(self, group_id: str, size: int, expires: float | None) -> None:
        self.write(lambda step: chords.begin(step, group_id, size, expires))

    def grow_group(self, group_id: str, more: int) -> None:
        self.write(lambda step: chords.grow(step, group_id, more))

    def parts(self, group_id: str) -> list[Part]:
        return self.read(lambda step: chords.parts(step, group_id))

    def end_group(self, group_id: str) -> None:
        self.write(lambda step: chords.end(step, group_id))

    def put_group(self, group_id: str, data: bytes, expires: float | None) -> None:
        self.put_many((Record(_GROUP + group_id, data, expires),))

    def get_group(self, group_id: str) -> bytes | None:
        return self.get_many((_GROUP + group_id,)).get(_GROUP + group_id)

    def forget_group(self, group_id: str) -> None:
        self.forget((_GROUP + group_id,))

    def watch(self) -> SQLiteWatch:
        return SQLiteWatch(self)

    def write(self, work: Callable[[Step], T]) -> T:
        return self._database.write(work, self._timeout)

    def read(self, work: Callable[[Step], T]) -> T:
        return self._database.read(work, self._timeout)


def documents(step: Step, ids: Iterable[str]) -> dict[str, bytes]:
    found, now = {}, time.time()
    for task_id in ids:
        row = step.execute(SQL.get, (key(task_id), now)).fetchone()
        if row is not None:
            found[task_id] = row[0]
    return found


class SQLiteWatch:
    """`backends.base.Watch`."""

    def __init__(self, backend: SQLiteBackend) -> None:
        self._backend = backend
        self._lock = threading.Lock()
        #: What is watched, by the key that stands in the file.
        self._watched: dict[bytes | str, str] = {}
        #: Added, and not yet looked for in what was stored before.
        self._new: set[str] = set()
        self._ear = Ear()
        try:
            self._seen = self._listen()
        except BaseException:
            self._ear.close()
            raise

    def _listen(self) -> int:
        """Be woken from now on; the number after which everything written is new."""

        def work(step: Step) -> int:
            step.execute(SQL.listen, (TOPIC, self._ear.address))
            last: int = step.execute(SQL.last).fetchone()[0]
            return last

        return self._backend.write(work)

    def add(self, ids: Iterable[str]) -> None:
        with self._lock:
            for task_id in ids:
                self._watched[key(task_id)] = task_id
                self._new.add(task_id)
        self._ear.ring()

    def remove(self, ids: Iterable[str]) -> None:
        with self._lock:
            for task_id in ids:
                self._watched.pop(key(task_id), None)
                self._new.discard(task_id)

    def wait(self, timeout: float) -> dict[str, bytes]:
        deadline = time.monotonic() + timeout
        while True:
            arrived = self._look()
            left = deadline - time.monotonic()
            if arrived or left <= 0:
                return arrived
            if self._ear.wait(min(left, LOOK)) is Heard.INTERRUPT:
                return {}

    def _look(self) -> dict[str, bytes]:
        with self._lock:
            new, self._new = self._new, set()
        try:
            arrived, listens = self._backend.read(lambda step: self._read(step, new))
        except CeleriacError:
            with self._lock:
                self._new |= new
            raise
        if not listens:  # swept by a process that could not reach us, one in another container perhaps
            self._backend.write(lambda step: step.execute(SQL.listen, (TOPIC, self._ear.address)))
        with self._lock:
            return {task_id: document for task_id, document in arrived.items() if key(task_id) in self._watched}

    def _read(self, step: Step, new: set[str]) -> tuple[dict[str, bytes], bool]:
        wanted = set(new)
        while rows := step.execute(SQL.written_since, (self._seen, _PAGE)).fetchall():
            with self._lock:
                wanted.update(self._watched[task] for _, task in rows if task in self._watched)
            self._seen = rows[-1][0]
        listens = step.execute(SQL.listens, (TOPIC, self._ear.address)).fetchone() is not None
        return documents(step, wanted), listens

    def interrupt(self) -> None:
        self._ear.interrupt()

    def close(self) -> None:
        self._ear.close()
        try:
            self._backend.write(lambda step: step.execute(SQL.deaf, (self._ear.address,)))
        except CeleriacError:
            pass  # its row is only litter: whoever rings it in vain deletes it


def factory(opened: Opened) -> SQLiteBackend:
    """See `registry`."""
    return SQLiteBackend(opened)
