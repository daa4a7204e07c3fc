"""Running what nodes died under with nothing beside it on its node. Pure state machine: told events, answers commands.

All runners are asked to be quiet; when the last is, the runner of the lowest slot takes one quarantined message after
the other; then all go on. A sibling with a task of an hour would keep the whole node waiting, so patience is bounded,
and each time that it was in vain the node goes on for twice as long before it tries again.
"""

from __future__ import annotations

from collections.abc import Iterable

#: Seconds to wait for the siblings' running tasks, and to go on before the second attempt; before later ones, at most.
PATIENCE, LONGEST = 60.0, 3600.0

Command = tuple[int, str]


class Quarantine:
    """`slots` are runners by number; commands are (slot, word) for their lines."""

    def __init__(self) -> None:
        self._loud: set[int] = set()
        self._quiet: set[int] = set()
        self._since = 0.0
        self._not_before = 0.0
        self._rest = PATIENCE
        self.active = False

    def wanted(self, slots: Iterable[int], now: float) -> list[Command]:
        """Quarantined messages wait."""
        if self.active or now < self._not_before:
            return []
        self._loud, self._quiet = set(slots), set()
        if not self._loud:
            return []
        self.active, self._since = True, now
        return [(slot, "quiet") for slot in sorted(self._loud)]

    def quieted(self, slot: int) -> list[Command]:
        """A runner holds nothing any more and reserves nothing."""
        if not self.active or slot not in self._loud:
            return []
        self._loud.discard(slot)
        self._quiet.add(slot)
        if not self._loud:
            self._rest = PATIENCE
        return [] if self._loud else [(min(self._quiet), "quarantine")]

    def ran(self, slot: int, some: bool) -> list[Command]:
        """The chosen runner ran one, or found none left."""
        if not self.active:
            return []
        return [(slot, "quarantine")] if some else self._end()

    def gone(self, slot: int) -> list[Command]:
        """A runner died or ended."""
        self._loud.discard(slot)
        self._quiet.discard(slot)
        if not self.active:
            return []
        # Whether it was the chosen one or the last loud one: start over when the shelf is looked at next.
        return self._end()

    def tick(self, now: float) -> list[Command]:
        """Give up when the siblings take too long."""
        if self.active and self._loud and now - self._since > PATIENCE:
            self._not_before, self._rest = now + self._rest, min(2 * self._rest, LONGEST)
            return self._end()
        return []

    def _end(self) -> list[Command]:
        self.active = False
        return [(slot, "resume") for slot in sorted(self._quiet | self._loud)]
