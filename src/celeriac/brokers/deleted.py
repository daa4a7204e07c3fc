"""Says what had to go: an engine keeps so many dead letters, and deletes the oldest for a new one, never silently."""

from __future__ import annotations

import logging
from time import monotonic

from .bounds import Bounds

logger = logging.getLogger("celeriac.brokers")

#: Seconds between two lines: a store that is full loses one with every new letter.
_PAUSE = 10.0


class Deleted:
    """Counts, and warns at most once in a while. Shared by threads: a line more or less does no harm."""

    def __init__(self, bounds: Bounds) -> None:
        self._most = bounds.dead_letter_max
        self._count = 0
        self._next = 0.0

    def note(self, count: int) -> None:
        """So many were deleted."""
        if not count:
            return
        self._count += count
        if monotonic() >= self._next:
            self._next = monotonic() + _PAUSE
            count, self._count = self._count, 0
            logger.warning(
                "%d of the oldest dead letters deleted: a queue keeps %d (dead_letter_max)", count, self._most
            )
