"""The flusher: a helper thread that sends finished outcomes on when a body takes longer than it was expected to.

The main thread sends them itself as long as tasks are short. Nothing else may use the flusher's connection, and it
takes outcomes only while a body runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ...brokers.base import Settlement
from ..settler import Settler

logger = logging.getLogger("celeriac.worker.flusher")

#: Outcomes wait no longer than about this many seconds behind a body.
PATIENCE = 0.010


class Flusher(threading.Thread):
    """`outcomes` is appended to by the main thread only; `take` empties it from either. `connect` opens a settler."""

    def __init__(self, connect: Callable[[], Settler]) -> None:
        super().__init__(name="flusher", daemon=True)
        self.outcomes: list[Settlement] = []
        self._connect = connect
        self._settler: Settler | None = None
        self._lock = threading.Lock()
        self._watching = threading.Event()

    def take(self) -> list[Settlement]:
        """All outcomes so far; they are the caller's to send."""
        with self._lock:
            taken = self.outcomes[:]
            del self.outcomes[: len(taken)]
            return taken

    def watch(self) -> None:
        """Bodies run from now on."""
        if not self._watching.is_set():
            self._watching.set()

    def rest(self) -> None:
        """No body runs."""
        self._watching.clear()

    def run(self) -> None:
        while True:
            self._watching.wait()
            oldest = self.outcomes[0] if self.outcomes else None
            time.sleep(PATIENCE)
            if oldest is not None and self.outcomes and self.outcomes[0] is oldest:
                self._flush()

    def _flush(self) -> None:
        taken = self.take()
        try:
            if self._settler is None:
                self._settler = self._connect()
            self._settler.settle(taken)
        except Exception as error:  # whatever it is: what was taken must not go with this thread
            # The main thread sends them when its body has ended: repeated, a settlement is refused or the same again.
            logger.debug("could not send %d outcomes from beside the task: %s", len(taken), error)
            if self._settler is not None:
                self._settler.close()
                self._settler = None
            with self._lock:
                self.outcomes[:0] = taken
