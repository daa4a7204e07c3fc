"""Where lanes tell of their ends: a queue from many threads to the runner's, with a bell that is rung once for all that
come while the runner sleeps, and not at all while it is awake."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ...drivers.redis_bell import Bell
from .lanes.base import Ended


class Ends:
    """`tell` from any thread; the rest belongs to the runner's."""

    def __init__(self) -> None:
        self._ended: deque[Ended] = deque()
        self._bell = Bell()
        self._asleep = False

    def fileno(self) -> int:
        return self._bell.fileno()

    def tell(self, ended: Ended) -> None:
        self._ended.append(ended)
        if self._asleep:
            self._asleep = False
            self._bell.ring()

    def take(self) -> list[Ended]:
        """All that have come."""
        ended, taken = self._ended, []
        while ended:
            taken.append(ended.popleft())
        return taken

    @contextmanager
    def awaited(self) -> Iterator[bool]:
        """Inside of it the bell rings. Yields whether none has come so far: then one may wait for it."""
        self._asleep = True
        try:
            yield not self._ended
        finally:
            self._asleep = False
            self._bell.silence()
