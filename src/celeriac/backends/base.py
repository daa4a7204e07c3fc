"""The result backend port: keeps documents by task id, and tells who waits. It stores; it decides nothing.

A document is bytes in Celery's result form (`wire.outcome` writes and reads it). Synchronous, shared by the threads of
a process; every wait has a deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from ..wire.message import Record


class Watch(Protocol):
    """Push notice of results. `add` and `remove` may be called from any thread, `wait` by one at a time."""

    def add(self, ids: Iterable[str]) -> None:
        """Start watching. A result stored before or after is delivered by `wait` once at least."""
        ...

    def remove(self, ids: Iterable[str]) -> None: ...

    def wait(self, timeout: float) -> dict[str, bytes]:
        """Documents that arrived (states on the way included), as soon as there is one; empty after `timeout`
        seconds or when interrupted. A lost connection is rebuilt here and every watched id is read again.

        Raises: OperationalError when the server stays away longer than the connect deadline.
        """
        ...

    def interrupt(self) -> None:
        """From any thread: make `wait` return now."""
        ...

    def close(self) -> None: ...


class Backend(Protocol):
    """The port."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    @property
    def identity(self) -> tuple[str, Any]:
        """What makes two adapters neighbours: (engine, where), e.g. ("redis", (host, port, path)). `Broker.join`
        compares it; `location` tells the rest."""
        ...

    @property
    def location(self) -> Mapping[str, Any]:
        """What the broker's one-step settlement must know beyond the identity, e.g.
        {"db": 1, "prefix": "celery-task-meta-"}."""
        ...

    def put_many(self, records: Sequence[Record]) -> None:
        """Store and tell the watchers. Raises: OperationalError."""
        ...

    def get_many(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The documents that exist. Raises: OperationalError."""
        ...

    def forget(self, ids: Sequence[str]) -> None: ...

    def watch(self) -> Watch:
        """A watch with a connection of its own."""
        ...


class Part(Struct, frozen=True):
    """What a member of a chord has ended with."""

    task_id: str
    #: Its place among the members.
    index: int
    #: Its result document, final.
    document: bytes


@runtime_checkable
class Counting(Protocol):
    """What a backend has beside the port whose settlements may carry `Settlement.member`: each member is added once to
    the set of its group, by its task id, in the step that settles it, and the addition that makes the set complete
    publishes `Member.fire` in the same step. A redelivered member changes nothing."""

    def begin_group(self, group_id: str, size: int, expires: float | None) -> None:
        """So many members complete the group; it is forgotten `expires` seconds later. Called before the last member is
        sent. Safe to repeat."""
        ...

    def grow_group(self, group_id: str, more: int) -> None:
        """So many members more. Called by a member that has not ended."""
        ...

    def parts(self, group_id: str) -> list[Part]:
        """What has been counted, by index."""
        ...

    def end_group(self, group_id: str) -> None:
        """Forget it."""
        ...


@runtime_checkable
class Groups(Protocol):
    """What a backend has beside the port that keeps groups (`GroupResult.save`)."""

    def put_group(self, group_id: str, data: bytes, expires: float | None) -> None: ...

    def get_group(self, group_id: str) -> bytes | None: ...

    def forget_group(self, group_id: str) -> None: ...


class Opened(Struct, frozen=True):
    """What an adapter's factory is called with (see `registry`)."""

    url: str
    options: Mapping[str, Any]
    #: Seconds: connect and each command.
    connect_timeout: float = 4.0
