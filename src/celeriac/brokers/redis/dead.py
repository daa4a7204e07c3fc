"""Looking at dead letters on Redis, and what is done with them: that part of `brokers.base.Broker`.

`turn.lua` sets them aside; each change of one is one step of a script.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from itertools import groupby
from operator import attrgetter
from typing import Any

from ...drivers.redis import Command, Pool, Word
from .. import history
from ..base import DeadLetter
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
        letters = [letter for queue in queues for letter in self._dead(queue, limit, before, lowest, highest)]
        letters.sort(key=_position, reverse=True)
        return letters[:limit]

    def _dead(self, queue: str, limit: int, before: DeadLetter | None, lowest: str, highest: str) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        offset = 0
        while len(letters) < limit:
            # Members of one score come in the order of their bytes, so that one has a place among all.
            want = min(_PAGE, limit - len(letters)) + (before is not None and not offset)
            page = self._page(queue, ("ZREVRANGEBYSCORE", highest, lowest), offset, want)
            offset += len(page)
            letters += [each for _, each in page if each and (before is None or _position(each) < _position(before))]
            if len(page) < want:
                break
        return letters

    def _page(
        self, queue: str, ranged: tuple[str, str, str], offset: int, want: int
    ) -> list[tuple[bytes, DeadLetter | None]]:
        base = self._layout.keys(queue).base
        verb, highest, lowest = ranged
        command: Command = (verb, base + "dead:index", highest, lowest, "WITHSCORES", "LIMIT", offset, want)
        (found,) = self._pool.run(command, timeout=self._timeout)
        # RESP3 nests member and score, RESP2 does not.
        rows = found if not found or isinstance(found[0], list) else list(zip(found[::2], found[1::2], strict=True))
        if not rows:
            return []
        names = [name for name, _ in rows]
        entries, *agains = self._pool.run(
            ("HMGET", base + "dead", *names),
            *[("ZSCORE", base + "dead:again", name) for name in names],
            timeout=self._timeout,
        )
        return [
            (name, None if entry is None else _letter(queue, name, since, again, entry))
            for (name, since), entry, again in zip(rows, entries, agains, strict=True)
        ]

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
