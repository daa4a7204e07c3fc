"""Revocations as values, and the form in which every engine stores them. Pure: keeps nothing.

They live in the broker, so that a worker that starts later obeys them too. A *revision* is the server's clock in
microseconds at which one was stored, and always higher than the one before: also after a server was emptied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct


class Revocation(Struct, frozen=True):
    """A task, or all whose stamps have one of these values, is not to run. Repeated, it replaces itself."""

    #: Whom it is about; empty: `headers` says.
    task_id: str = ""
    #: Stamped headers: name -> values.
    headers: Mapping[str, tuple[str, ...]] = {}
    #: End it, too, where it runs already, with this signal.
    terminate: bool = False
    signal: int = 15
    #: Set by the broker; seconds since the epoch by its clock is a millionth of it.
    revision: int = 0

    @property
    def since(self) -> float:
        return self.revision / 1e6


#: An entry with this header revokes nothing: it changes a task's rate limit, and is kept and told like the others.
_RATE = "celeriac.rate_limit"


def rate_change(task: str, limit: str) -> Revocation:
    """`limit` as a text, empty for none. The next one for this task replaces it."""
    return Revocation(f"{_RATE}:{task}", {_RATE: (task, limit)})


def changed_rate(entry: Revocation) -> tuple[str, str] | None:
    """(task, limit) of a `rate_change`."""
    found = entry.headers.get(_RATE)
    return None if found is None else (found[0], found[1])


class _Stored(Struct, frozen=True, array_like=True):
    task_id: str
    headers: dict[str, tuple[str, ...]]
    terminate: bool
    signal: int


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(_Stored).decode


def name_of(entry: Revocation) -> str:
    """One for all repetitions: what is stored under it is replaced."""
    if entry.task_id:
        return f"id:{entry.task_id}"
    return "headers:" + _encode({name: sorted(set(values)) for name, values in entry.headers.items()}).decode()


def write(entry: Revocation) -> bytes:
    headers = {name: tuple(values) for name, values in entry.headers.items()}
    return _encode(_Stored(entry.task_id, headers, entry.terminate, entry.signal))


def read(stored: bytes, revision: int) -> Revocation:
    entry = _decode(stored)
    return Revocation(entry.task_id, entry.headers, entry.terminate, entry.signal, revision)


def named(entries: Sequence[Revocation]) -> dict[str, bytes]:
    """What is to be stored, the last of each name."""
    return {name_of(entry): write(entry) for entry in entries}
