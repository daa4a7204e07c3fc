"""Members of chords on Redis, in Celery's own keys, so that stock workers and ours count one set.

    celery-taskset-meta-<group>.j   ZSET    `wire.part`s by their place (a LIST with result_chord_ordered off)
    celery-taskset-meta-<group>.s   STRING  how many members complete it
    celery-taskset-meta-<group>.t   STRING  how many more there are (`add_to_chord`)
    celery-taskset-meta-<group>.d   SET     task id:place of those that have been counted
    celery-taskset-meta-<group>.c   STRING  who calls the body: a token of a stock worker that is at it, or `done`

It begins groups, makes them grow, reads them and ends them; the counting itself stands in the broker's `turn.lua`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..drivers.redis import Command, Pool
from ..errors import BackendError
from ..wire import part as parts
from .base import Part


class RedisChords:
    """For `RedisBackend`, which has the rest."""

    _groups: str
    _pool: Pool
    _timeout: float
    get_many: Callable[[Sequence[str]], dict[str, bytes]]

    def begin_group(self, group_id: str, size: int, expires: float | None) -> None:
        key = self._groups + group_id
        others = [key + end for end in (".j", ".t", ".d")]
        milliseconds = int((expires or 0) * 1000)
        commands: list[Command] = [("SET", key + ".s", size)]
        if milliseconds:
            commands = [("PSETEX", key + ".s", milliseconds, size)]
            commands += [("PEXPIRE", other, milliseconds) for other in others]
        else:
            commands += [("PERSIST", other) for other in others]
        self._pool.run(("MULTI",), *commands, ("EXEC",), timeout=self._timeout)

    def grow_group(self, group_id: str, more: int) -> None:
        self._pool.run(("INCRBY", f"{self._groups}{group_id}.t", more), timeout=self._timeout)

    def parts(self, group_id: str) -> list[Part]:
        key = self._groups + group_id
        (kind,) = self._pool.run(("TYPE", key + ".j"), timeout=self._timeout)
        command: Command = ("ZRANGE", key + ".j", 0, -1, "WITHSCORES")
        if kind == b"list":
            command = ("LRANGE", key + ".j", 0, -1)
        (found,) = self._pool.run(command, timeout=self._timeout)
        rows = list(enumerate(found)) if kind == b"list" else [(_place(score), data) for data, score in _pairs(found)]
        read = [(place, parts.read(data)) for place, data in rows]
        if any(each is None for _, each in read):
            return self._by_ids(key)
        return [Part(each[0], place, each[1]) for place, each in read if each is not None]

    def _by_ids(self, key: str) -> list[Part]:
        """Parts in a form that is not read before it is known to be accepted: the results themselves say the same."""
        (tags,) = self._pool.run(("SMEMBERS", key + ".d"), timeout=self._timeout)
        places = {task: place for task, _, place in (tag.decode().rpartition(":") for tag in tags)}
        documents = self.get_many(list(places))
        if gone := places.keys() - documents.keys():
            raise BackendError(f"the results of {len(gone)} members of a chord are gone, {min(gone)} for one")
        members = [Part(task, _place(place), documents[task]) for task, place in places.items()]
        return sorted(members, key=lambda member: member.index)

    def end_group(self, group_id: str) -> None:
        key = self._groups + group_id
        self._pool.run(("DEL", *[key + end for end in (".j", ".s", ".t", ".d")]), timeout=self._timeout)


def _pairs(found: list[Any]) -> list[Any]:
    """RESP3 nests member and score, RESP2 does not."""
    return found if not found or isinstance(found[0], list) else list(zip(found[::2], found[1::2], strict=True))


def _place(score: Any) -> int:
    """Celery gives +inf to a member of which the message says no place."""
    number = float(score)
    return int(number) if math.isfinite(number) else 0
