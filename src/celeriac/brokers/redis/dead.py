"""Looking at dead letters on Redis, and what is done with them: that part of `brokers.base.Broker`.

`turn.lua` sets them aside; each change of one is one step of a script.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Any

from ...drivers.redis import Command, Pool, Word
from .. import history
from ..base import PAGE_BYTES, DeadLetter
from ..bounds import Bounds
from . import scripts
from .layout import Layout
from .letters import imported, kept, read

#: Letters a call: Redis serves nobody else meanwhile.
_PAGE = 500


def _position(letter: DeadLetter) -> tuple[int, bytes]:
    return round(letter.since * 1000), letter.id.encode()


class DeadLetters:
    """For `RedisBroker`, which has the rest."""

    _pool: Pool
    _layout: Layout
    _bounds: Bounds
    _timeout: float
    _run: Callable[..., Any]
    _ready_and_base: Callable[[Sequence[str]], list[str]]

    def dead_letters(
        self,
        queues: Sequence[str],
        limit: int = 100,
        *,
        before: DeadLetter | None = None,
        newer: float | None = None,
        older: float | None = None,
    ) -> list[DeadLetter]:
        highest = "+inf" if older is None else f"({older * 1000:.0f}"
        if before is not None and (older is None or before.since < older):
            highest = f"{before.since * 1000:.0f}"
        lowest = "-inf" if newer is None else f"{newer * 1000:.0f}"
        letters, reached = list[DeadLetter](), (-math.inf, b"")
        for queue in queues:
            found, whole = self._dead(queue, limit, before, lowest, highest)
            letters += found
            if not whole:  # what is older than its last would go before what it still has
                reached = max(reached, _position(found[-1]))
        letters.sort(key=_position, reverse=True)
        return [letter for letter in letters[:limit] if _position(letter) >= reached]

    def _dead(
        self, queue: str, limit: int, before: DeadLetter | None, lowest: str, highest: str
    ) -> tuple[list[DeadLetter], bool]:
        """False: there may be more within the limit, which is too large for one page."""
        letters: list[DeadLetter] = []
        offset, room = 0, PAGE_BYTES
        while len(letters) < limit:
            # Members of one score come in the order of their bytes, so that one has a place among all.
            want = min(_PAGE, limit - len(letters)) + (before is not None and not offset)
            rows = self._index(queue, highest, lowest, offset, want)
            behind = [row for row in rows if before is None or (round(float(row[1])), row[0]) < _position(before)]
            found, taken = self._entries(queue, behind, room)
            letters += found
            left = len(behind) - taken
            if left and letters:
                return letters, False
            offset += len(rows) - left
            room -= sum(len(letter.payload) for letter in found)
            if len(rows) < want and not left:
                break
        return letters, True

    def _index(self, queue: str, highest: str, lowest: str, offset: int, want: int) -> list[Any]:
        """(name, milliseconds)"""
        key = self._layout.keys(queue).base + "dead:index"
        command: Command = ("ZREVRANGEBYSCORE", key, highest, lowest, "WITHSCORES", "LIMIT", offset, want)
        (found,) = self._pool.run(command, timeout=self._timeout)
        # RESP3 nests member and score, RESP2 does not.
        return found if not found or isinstance(found[0], list) else list(zip(found[::2], found[1::2], strict=True))

    def _entries(self, queue: str, rows: list[Any], room: int) -> tuple[list[DeadLetter], int]:
        """The letters of as many rows as have room, of one at least, and how many rows that was."""
        if not rows:
            return [], 0
        base = self._layout.keys(queue).base
        sizes = self._pool.run(*[("HSTRLEN", base + "dead", name) for name, _ in rows], timeout=self._timeout)
        fits = sum(total <= room for total in accumulate(sizes))
        rows = rows[: max(1, fits)]
        names = [name for name, _ in rows]
        entries, *agains = self._pool.run(
            ("HMGET", base + "dead", *names),
            *[("ZSCORE", base + "dead:again", name) for name in names],
            timeout=self._timeout,
        )
        found = [
            _letter(queue, name, since, again, entry)
            for (name, since), entry, again in zip(rows, entries, agains, strict=True)
            if entry is not None
        ]
        return found, len(rows)

    def dead_letter(self, queue: str, letter_id: str) -> DeadLetter | None:
        base = self._layout.keys(queue).base
        entry, since, again = self._pool.run(
            ("HGET", base + "dead", letter_id),
            ("ZSCORE", base + "dead:index", letter_id),
            ("ZSCORE", base + "dead:again", letter_id),
            timeout=self._timeout,
        )
        return None if entry is None or since is None else _letter(queue, letter_id.encode(), since, again, entry)

    def requeue_dead(
        self, queue: str, ids: Sequence[str], *, after: float = 0.0, every: float = 0.0, by: str = ""
    ) -> list[str]:
        unique = list(dict.fromkeys(ids))
        found: list[str] = []
        for at in range(0, len(unique), _PAGE):
            pauses = (f"{(after + every * len(found)) * 1000:.3f}", f"{every * 1000:.3f}")
            words: list[Word] = [self._layout.separator, *pauses, by, *kept(self._bounds), *unique[at : at + _PAGE]]
            answer = self._run(scripts.REQUEUE_DEAD, self._ready_and_base([queue]), *words)
            found += [name.decode() for name in answer]
        return found

    def edit_dead(self, letter: DeadLetter, payload: bytes, by: str = "") -> bool:
        as_read = sha1(letter.payload, usedforsecurity=False).hexdigest()
        name = history.name_of(letter.task_id, payload)
        return bool(self._change(letter.queue, "edit", letter.id, as_read, name, payload, by))

    def purge_dead(self, queue: str, ids: Sequence[str]) -> int:
        unique = list(dict.fromkeys(ids))
        return sum(self._change(queue, "purge", *unique[at : at + _PAGE]) for at in range(0, len(unique), _PAGE))

    def _change(self, queue: str, *words: Word) -> int:
        changed: int = self._run(scripts.EDIT_DEAD, [self._layout.keys(queue).base], *words)
        return changed

    def import_dead(self, letters: Sequence[DeadLetter], by: str = "") -> list[str]:
        told = history.entry(time.time(), history.IMPORTED, by)
        ids: list[str] = []
        for queue, group in groupby(letters, attrgetter("queue")):
            for letter in group:  # one a call: a letter may have a megabyte
                keys = self._ready_and_base([queue])
                ids += [name.decode() for name in self._run(scripts.IMPORT_DEAD, keys, *imported(letter, told))]
        return ids


def _letter(queue: str, name: bytes, since: bytes, again: bytes | None, entry: bytes) -> DeadLetter:
    return read(queue, name.decode(), float(since), None if again is None else float(again), entry)
