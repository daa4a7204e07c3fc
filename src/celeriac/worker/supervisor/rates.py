"""The schedules of a node's rate-limited tasks, in the last part of the board: all its runners share them.

A row for each task, found by its name's hash. Whoever changes a row locks that row alone, by a record lock of the file:
the system takes such a lock from a process that dies. Threads of one process are not kept apart by it: only the thread
that admits messages may ask. No lock is waited for longer than 50 ms (its holder may have been stopped), nor where a
task has closed the descriptor: then the row is changed without, and at worst one starts too soon.
"""

from __future__ import annotations

import contextlib
import fcntl
import struct
import time
from collections.abc import Iterable, Iterator, Mapping

from ...errors import ImproperlyConfigured
from ...execution.rates import Schedule, ask, charge
from ...foundation.rate import rate
from .board import Board

#: A row: the name's hash (0: free), whether the rate was changed while the node ran, that rate; the schedule.
_ROW = struct.Struct("<QQddddQ")
_CHANGE = struct.Struct("<QQd")
_SCHEDULE = struct.Struct("<dddQ")
_STRIDE = 64
#: Row 0 is no task's: its second number counts the changes.
_PATIENCE = 0.05


class RateTable:
    """All rows, for supervisor and runners alike."""

    def __init__(self, board: Board) -> None:
        self._memory, self._fd, self._base, size = board.rates_area()
        self._rows = size // _STRIDE

    def ask(self, row: int, per_second: float, now: float) -> float:
        """See `execution.rates.ask`; a rate that was changed while the node runs is the caller's to know."""
        with self._locked(row):
            schedule = self._read(row)
            moment = ask(schedule, per_second, now)
            self._write(row, schedule)
        return moment

    def charge(self, row: int, per_second: float, now: float) -> None:
        with self._locked(row):
            schedule = self._read(row)
            charge(schedule, per_second, now)
            self._write(row, schedule)

    def row(self, name: str) -> int:
        """The row of this task, made if there is none. Raises: ImproperlyConfigured when the table is full."""
        key = _key(name)
        with self._locked(0):
            for step in range(self._rows - 1):
                row = 1 + (key + step) % (self._rows - 1)
                found = int(_CHANGE.unpack_from(self._memory, self._base + row * _STRIDE)[0])
                if found == 0:
                    _CHANGE.pack_into(self._memory, self._base + row * _STRIDE, key, 0, 0.0)
                if found in (0, key):
                    return row
        raise ImproperlyConfigured(f"more than {self._rows} tasks with rate limits")

    def change(self, name: str, per_second: float) -> None:
        """From now on, for all runners that start later too (0.0: no limit). Those that run must be told."""
        row = self.row(name)
        with self._locked(row):
            key, _, _ = _CHANGE.unpack_from(self._memory, self._base + row * _STRIDE)
            _CHANGE.pack_into(self._memory, self._base + row * _STRIDE, key, 1, per_second)
        with self._locked(0):
            _, changes, _ = _CHANGE.unpack_from(self._memory, self._base)
            _CHANGE.pack_into(self._memory, self._base, 0, changes + 1, 0.0)

    def changed(self, names: Iterable[str]) -> dict[str, float]:
        """Those of the tasks whose rate was changed while the node runs."""
        if not _CHANGE.unpack_from(self._memory, self._base)[1]:
            return {}
        rows = ((name, _CHANGE.unpack_from(self._memory, self._base + self.row(name) * _STRIDE)) for name in names)
        return {name: per_second for name, (_, changed, per_second) in rows if changed}

    def _read(self, row: int) -> Schedule:
        return Schedule(*_SCHEDULE.unpack_from(self._memory, self._base + row * _STRIDE + _CHANGE.size))

    def _write(self, row: int, kept: Schedule) -> None:
        place = self._base + row * _STRIDE + _CHANGE.size
        _SCHEDULE.pack_into(self._memory, place, kept.rate, kept.next, kept.tail, kept.tickets)

    @contextlib.contextmanager
    def _locked(self, row: int) -> Iterator[None]:
        start = self._base + row * _STRIDE
        locked = self._lock(start)
        try:
            yield
        finally:
            if locked:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._fd, fcntl.LOCK_UN, _STRIDE, start)

    def _lock(self, start: int) -> bool:
        until = 0.0
        while True:
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, _STRIDE, start)
            except (BlockingIOError, PermissionError):
                now = time.monotonic()
                until = until or now + _PATIENCE
                if now > until:
                    return False
                time.sleep(0.0002)
            except OSError:
                return False
            else:
                return True


def _key(name: str) -> int:
    """64 bits of a name, never 0: FNV-1a, since importing `hashlib` would cost more than all that is hashed here."""
    key = 0xCBF29CE484222325
    for byte in name.encode():
        key = (key ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return key or 1


class Rates:
    """What a runner must know: which of its tasks are limited, and when a message of theirs may start."""

    def __init__(self, table: RateTable, limits: Mapping[str, object]) -> None:
        """`limits` by task, as tasks and settings say them. Raises: ImproperlyConfigured."""
        self._table = table
        #: Starts a second, and the row; of limited tasks only.
        self._limited: dict[str, tuple[float, int]] = {}
        changed = table.changed(limits)
        for name, limit in limits.items():
            self._set(name, changed.get(name, rate(limit)))

    @property
    def limited(self) -> Mapping[str, object]:
        return self._limited

    def due(self, name: str, now: float) -> float:
        """0.0: it may start now, and is counted. Else when to look at the message again. Seconds, server's clock."""
        per_second, row = self._limited[name]
        return self._table.ask(row, per_second, now)

    def charge(self, name: str, now: float) -> None:
        """One starts that must not wait."""
        per_second, row = self._limited[name]
        self._table.charge(row, per_second, now)

    def change(self, name: str, limit: object) -> None:
        """The supervisor said so."""
        self._set(name, rate(limit))

    def _set(self, name: str, per_second: float) -> None:
        if per_second > 0:
            self._limited[name] = (per_second, self._table.row(name))
        else:
            self._limited.pop(name, None)
