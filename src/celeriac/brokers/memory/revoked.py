"""Revocations in this process's memory: the rules of `Broker.revoke` in their simplest form. The lock is held."""

from __future__ import annotations

from collections.abc import Sequence

from ..bounds import Bounds
from ..revocation import Revocation, named, read


class Revoked:
    """Entries by name, the oldest first."""

    def __init__(self) -> None:
        self.revision = 0
        self._entries: dict[str, Revocation] = {}

    def add(self, entries: Sequence[Revocation], bounds: Bounds, now: float) -> int:
        for name, stored in named(entries).items():
            self.revision = max(self.revision + 1, int(now * 1e6))
            self._entries.pop(name, None)
            self._entries[name] = read(stored, self.revision)
        self._forget(bounds, now)
        return self.revision

    def newer(self, since: int, bounds: Bounds, now: float) -> tuple[int, list[Revocation]]:
        self._forget(bounds, now)
        low = since if since <= self.revision else 0
        return self.revision, [entry for entry in self._entries.values() if entry.revision > low]

    def _forget(self, bounds: Bounds, now: float) -> None:
        while self._entries:
            name, oldest = next(iter(self._entries.items()))
            if len(self._entries) <= bounds.revokes_max and oldest.since >= now - bounds.revokes_expire:
                return
            del self._entries[name]
