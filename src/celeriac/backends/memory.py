"""Results in this process's memory: the reference of the backend port. Simple and exact; no other process sees them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..drivers import memory as driver
from ..wire.message import Record
from .base import Opened, Part


class Results:
    """Documents by task id, and who watches them. Every method is called with the space's lock held."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._documents: dict[str, tuple[bytes, bool, float | None]] = {}
        self._watchers: dict[str, set[MemoryWatch]] = {}
        self._sweep_at = 1024

    def put(self, record: Record) -> None:
        """Store, unless a final document would be replaced by one on the way; tell the watchers."""
        kept = self._alive(record.task_id)
        if kept is not None and kept[1] and not record.final:
            return
        until = None if record.expires is None else self._clock() + record.expires
        self._documents[record.task_id] = (record.document, record.final, until)
        for watch in self._watchers.get(record.task_id, ()):
            watch.deliver(record.task_id, record.document)
        if len(self._documents) >= self._sweep_at:
            self._sweep()

    def get(self, task_id: str) -> bytes | None:
        kept = self._alive(task_id)
        return None if kept is None else kept[0]

    def forget(self, task_id: str) -> None:
        self._documents.pop(task_id, None)

    def watch(self, watch: MemoryWatch, task_id: str) -> None:
        self._watchers.setdefault(task_id, set()).add(watch)

    def unwatch(self, watch: MemoryWatch, task_id: str) -> None:
        watchers = self._watchers.get(task_id)
        if watchers is not None:
            watchers.discard(watch)
            if not watchers:
                del self._watchers[task_id]

    def _alive(self, task_id: str) -> tuple[bytes, bool, float | None] | None:
        kept = self._documents.get(task_id)
        if kept is not None and kept[2] is not None and kept[2] <= self._clock():
            del self._documents[task_id]
            return None
        return kept

    def _sweep(self) -> None:
        """Drop what has expired. Runs each time the number of documents has doubled: constant cost per document."""
        now = self._clock()
        gone = [task_id for task_id, (_, _, until) in self._documents.items() if until is not None and until <= now]
        for task_id in gone:
            del self._documents[task_id]
        self._sweep_at = max(1024, 2 * len(self._documents))


class Members:
    """Members of chords that have ended, a set a group. Every method is called with the space's lock held."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._sets: dict[str, _MemberSet] = {}

    def begin(self, group_id: str, size: int, expires: float | None) -> None:
        self._sweep()
        kept = self._sets.setdefault(group_id, _MemberSet())
        kept.size, kept.until = size, None if expires is None else self._clock() + expires

    def grow(self, group_id: str, more: int) -> None:
        self._sets.setdefault(group_id, _MemberSet()).size += more

    def count(self, member: Any) -> bool:
        """Add a `brokers.base.Member`. Whether that has made the group complete: true once."""
        kept = self._sets.setdefault(member.group_id, _MemberSet())
        if member.task_id in kept.parts:
            return False
        kept.parts[member.task_id] = Part(member.task_id, member.index, member.document)
        return len(kept.parts) == kept.size

    def parts(self, group_id: str) -> list[Part]:
        kept = self._sets.get(group_id)
        return [] if kept is None else sorted(kept.parts.values(), key=lambda part: part.index)

    def end(self, group_id: str) -> None:
        self._sets.pop(group_id, None)

    def _sweep(self) -> None:
        if len(self._sets) >= self._sweep_at:
            now = self._clock()
            for group_id in [name for name, kept in self._sets.items() if kept.until is not None and kept.until < now]:
                del self._sets[group_id]
            self._sweep_at = max(1024, 2 * len(self._sets))

    _sweep_at = 1024


class _MemberSet:
    def __init__(self) -> None:
        self.size = 0
        self.parts: dict[str, Part] = {}
        self.until: float | None = None


class MemoryWatch:
    """`backends.base.Watch` over `Results`: the store hands it what it watches."""

    def __init__(self, space: driver.Space, results: Results) -> None:
        self._space = space
        self._results = results
        self._ids: set[str] = set()
        self._arrived: dict[str, bytes] = {}
        self._wake = threading.Event()

    def add(self, ids: Iterable[str]) -> None:
        with self._space.lock:
            for task_id in ids:
                self._ids.add(task_id)
                self._results.watch(self, task_id)
                document = self._results.get(task_id)
                if document is not None:
                    self.deliver(task_id, document)

    def remove(self, ids: Iterable[str]) -> None:
        with self._space.lock:
            for task_id in ids:
                self._ids.discard(task_id)
                self._arrived.pop(task_id, None)
                self._results.unwatch(self, task_id)

    def deliver(self, task_id: str, document: bytes) -> None:
        """Called by the store, its lock held."""
        self._arrived[task_id] = document
        self._wake.set()

    def wait(self, timeout: float) -> dict[str, bytes]:
        self._wake.wait(timeout)
        with self._space.lock:
            self._wake.clear()
            arrived, self._arrived = self._arrived, {}
        return arrived

    def interrupt(self) -> None:
        self._wake.set()

    def close(self) -> None:
        self.remove(tuple(self._ids))


class MemoryBackend:
    """`backends.base.Backend` in memory."""

    def __init__(self, opened: Opened) -> None:
        self._space = driver.space(opened.url)
        self._results = self._space.store("results", Results)
        self._groups = self._space.store("groups", Results)
        self._members = self._space.store("members", Members)

    def open(self) -> None:
        """Nothing to connect to."""

    def close(self) -> None:
        """Nothing to release: the documents stay with the process."""

    @property
    def identity(self) -> tuple[str, Any]:
        return ("memory", self._space.name)

    @property
    def location(self) -> Mapping[str, Any]:
        """The way in for the broker's one-step settlement: called with the space's lock held."""
        return {"put": self._results.put, "count": self._members.count}

    def put_many(self, records: Sequence[Record]) -> None:
        with self._space.lock:
            for record in records:
                self._results.put(record)

    def get_many(self, ids: Sequence[str]) -> dict[str, bytes]:
        with self._space.lock:
            found = ((task_id, self._results.get(task_id)) for task_id in ids)
            return {task_id: document for task_id, document in found if document is not None}

    def forget(self, ids: Sequence[str]) -> None:
        with self._space.lock:
            for task_id in ids:
                self._results.forget(task_id)

    def watch(self) -> MemoryWatch:
        return MemoryWatch(self._space, self._results)

    # -- groups -------------------------------------------------------------------------------------------------

    def begin_group(self, group_id: str, size: int, expires: float | None) -> None:
        with self._space.lock:
            self._members.begin(group_id, size, expires)

    def grow_group(self, group_id: str, more: int) -> None:
        with self._space.lock:
            self._members.grow(group_id, more)

    def parts(self, group_id: str) -> list[Part]:
        with self._space.lock:
            return self._members.parts(group_id)

    def end_group(self, group_id: str) -> None:
        with self._space.lock:
            self._members.end(group_id)

    def put_group(self, group_id: str, data: bytes, expires: float | None) -> None:
        with self._space.lock:
            self._groups.put(Record(group_id, data, expires))

    def get_group(self, group_id: str) -> bytes | None:
        with self._space.lock:
            return self._groups.get(group_id)

    def forget_group(self, group_id: str) -> None:
        with self._space.lock:
            self._groups.forget(group_id)


def factory(opened: Opened) -> MemoryBackend:
    """See `registry`."""
    return MemoryBackend(opened)
