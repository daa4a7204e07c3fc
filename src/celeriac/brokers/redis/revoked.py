"""Revocations on Redis: stored by `revoke.lua`, read page by page. `turn.lua` reads their revision in each turn."""

from __future__ import annotations

from collections.abc import Sequence

from ...drivers.redis import Pool
from ..bounds import Bounds
from ..revocation import Revocation, named, read
from . import scripts
from .layout import Layout

#: Entries a call: Redis serves nobody else meanwhile.
_PAGE = 1000


class Revoked:
    """See `Broker.revoke` and `Broker.revocations`. `timeout` in seconds, for each call."""

    def __init__(self, pool: Pool, layout: Layout, bounds: Bounds, timeout: float) -> None:
        self._pool = pool
        self._keys = [layout.revoked, layout.revoked + ":index", layout.revision]
        self._bounds = bounds
        self._timeout = timeout

    def add(self, entries: Sequence[Revocation]) -> int:
        rows = list(named(entries).items())
        bounds = (self._bounds.revokes_max, int(self._bounds.revokes_expire * 1e6))
        revision = 0
        for at in range(0, max(1, len(rows)), _PAGE):
            words = [word for row in rows[at : at + _PAGE] for word in row]
            revision = int(scripts.REVOKE.run(self._pool, self._keys, *bounds, *words, timeout=self._timeout))
        return revision

    def newer(self, since: int) -> tuple[int, list[Revocation]]:
        """The revision is read first: whatever it covers is still found after, under a higher one at most."""
        found, time = self._pool.run(("GET", self._keys[2]), ("TIME",), timeout=self._timeout)
        newest = int(found or 0)
        low = since if since <= newest else 0
        low = max(low, int(time[0]) * 1_000_000 + int(time[1]) - int(self._bounds.revokes_expire * 1e6))
        entries: list[Revocation] = []
        while low < newest:
            page = self._page(low)
            if not page:
                break
            entries += [entry for entry in page if entry.task_id or entry.headers]
            low = page[-1].revision
        return newest, entries

    def _page(self, after: int) -> list[Revocation]:
        command = ("ZRANGEBYSCORE", self._keys[1], f"({after}", "+inf", "WITHSCORES", "LIMIT", 0, _PAGE)
        (found,) = self._pool.run(command, timeout=self._timeout)
        # RESP3 nests member and score, RESP2 does not.
        rows = found if not found or isinstance(found[0], list) else list(zip(found[::2], found[1::2], strict=True))
        if not rows:
            return []
        (stored,) = self._pool.run(("HMGET", self._keys[0], *[name for name, _ in rows]), timeout=self._timeout)
        return [
            Revocation(revision=int(float(revision))) if entry is None else read(entry, int(float(revision)))
            for (_, revision), entry in zip(rows, stored, strict=True)
        ]
