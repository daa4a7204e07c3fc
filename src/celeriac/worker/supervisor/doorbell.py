"""The doorbell: one waiter a node, which wakes one idle runner for each message that may have come.

Fifty runners that each waited on the server would all wake for one message. It holds no message: whoever is woken still
reserves for itself, and may find that another node was faster.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ...brokers.base import Waiter
from ...errors import CeleriacError

logger = logging.getLogger("celeriac.worker.doorbell")

#: Seconds after which the queues are looked at though nothing was heard: a notice lost is a delay, never a hang.
SAFETY = 5.0


class Doorbell(threading.Thread):
    """Call `idle(slot)` when a runner has found nothing; `wake(slot)` is called from here when it should look again."""

    def __init__(self, connect: Callable[[], Waiter], wake: Callable[[int], None], backoff: float = 1.0) -> None:
        super().__init__(name="doorbell", daemon=True)
        self._connect = connect
        self._wake = wake
        self._backoff = backoff
        self._idle: dict[int, None] = {}  # in the order in which they became idle
        self._changed = threading.Condition()
        self._stopped = False
        self._waiter: Waiter | None = None

    def idle(self, slot: int) -> None:
        """The runner in this slot waits to be woken."""
        with self._changed:
            self._idle[slot] = None
            self._changed.notify()

    def busy(self, slot: int) -> None:
        """The runner in this slot is gone or must not be woken any more."""
        with self._changed:
            self._idle.pop(slot, None)

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify()
            if self._waiter is not None:
                self._waiter.interrupt()

    def run(self) -> None:
        while self._some_idle():
            try:
                self._ring()
            except CeleriacError as error:
                logger.debug("waiting for messages failed, connecting anew: %s", error)
                self._drop()
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, self._backoff)
                self._wake_idle(len(self._idle))  # they see for themselves whether the broker is back
        self._drop()

    def _some_idle(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._idle)
            return not self._stopped

    def _ring(self) -> None:
        """Wait for one notice and pass it on."""
        waiter = self._waiter
        if waiter is None:
            waiter = self._connect()
            with self._changed:  # `stop` interrupts the one it sees
                self._waiter = waiter
        ready = waiter.arm()
        if ready:
            self._wake_idle(ready)
        elif waiter.wait(SAFETY) and not self._stopped:
            # Woken at once, without another look at the queue: the next round looks, and wakes more if there is more.
            self._wake_idle(1)

    def _wake_idle(self, most: int) -> None:
        with self._changed:
            chosen = list(self._idle)[:most]
            for slot in chosen:
                del self._idle[slot]
        for slot in chosen:
            self._wake(slot)

    def _drop(self) -> None:
        with self._changed:
            waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.close()
