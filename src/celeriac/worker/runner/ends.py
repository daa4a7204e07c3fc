"""Where lanes tell of their ends: a queue from many threads to the runner's, with a bell that is rung once for all that
come while the runner sleeps, and not at all while it is awake."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ...drivers.redis_bell import Bell
from .lanes.base import EX_SOFTWARE, Ended

logger = logging.getLogger("celeriac.worker.runner")


class Ends:
    """`tell` from any thread; the rest belongs to the runner's. `whole` says whether the process still has its own
    descriptors: a body that has closed them all takes the bell with it, and nobody could be told of its end."""

    def __init__(self, whole: Callable[[], bool]) -> None:
        self._whole = whole
        self._ended: deque[Ended] = deque()
        self._bell = Bell()
        self._asleep = False

    def fileno(self) -> int:
        return self._bell.fileno()

    def tell(self, ended: Ended) -> None:
        if not self._whole():
            # The board still says what runs: the supervisor settles it.
            logger.critical("a task has closed descriptors that are not its own: this process ends")
            os._exit(EX_SOFTWARE)
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
