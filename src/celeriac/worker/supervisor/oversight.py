"""Oversight: what the supervisor sees on the board and does about it - gives back what waits behind long tasks, ends
what must not go on. It asks nobody and waits for nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from ...brokers.revocation import Revocation
from ...execution.revocations import Known
from .board import Board
from .deadlines import Deadlines
from .give_back import LONG, GiveBack
from .process import RunnerHandle
from .wanted import Found, wanted
from .watchdog import Watchdog

logger = logging.getLogger("celeriac.worker")
control = logging.getLogger("celery.worker.control")
requests = logging.getLogger("celery.worker.request")


class Oversight:
    """`look` at all ready runners every tick; `forget` a slot that another runner takes."""

    def __init__(self, board: Board, give_back: GiveBack) -> None:
        self._board = board
        self._give_back = give_back
        self._watchdog = Watchdog()
        self.deadlines = Deadlines(board)

    def forget(self, slot: int) -> None:
        self._give_back.forget(slot)
        self._watchdog.forget(slot)

    def look(self, handles: Iterable[RunnerHandle], now: float, *, excused: bool) -> None:
        """`excused`: there is a reason why runners may make no turns."""
        self._watchdog.begin(now)
        if excused:
            self._watchdog.excuse()
        handles = list(handles)
        self.deadlines.look(handles, now)
        for handle in handles:
            receipt, since = self._board.last(handle.slot)
            if receipt and now - since > LONG:
                self._give_back.behind(handle.slot, handle.consumer, receipt)
            if self._watchdog.look(handle.slot, receipt, self._board.turns(handle.slot), now):
                logger.error("runner %d makes no turn: it is replaced", handle.slot)
                handle.kill("it made no progress")

    def end(self, handles: Iterable[RunnerHandle], found: Iterable[Found], orders: Iterable[Revocation]) -> None:
        """Runs that are revoked; also those of messages that were acknowledged before, which only we know of."""
        known = Known(orders)
        for handle in handles:
            mine = {one.receipt: one for one in found if one.consumer == handle.consumer}
            for receipt, delivery in handle.early.items():
                entry = wanted(delivery, known)
                if entry is not None:
                    mine[receipt] = Found(handle.slot, handle.consumer, receipt, entry[0].signal, entry[1])
            for one in mine.values():
                if self.deadlines.terminate(handle, one.receipt, one.signal, time.monotonic()):
                    control.info("Terminating %s (%s)", one.task_id, one.signal)

    def give_back_all(self, handles: Iterable[RunnerHandle]) -> None:
        """At once: the node stops, and what has not started is to run elsewhere."""
        for handle in handles:
            receipt, _ = self._board.last(handle.slot)
            if receipt:
                self._give_back.behind(handle.slot, handle.consumer, receipt)


def tell_overrun(more: Mapping[str, Any]) -> None:
    """The line of a soft limit, which a runner's signal handler could not write itself."""
    requests.warning("Soft time limit (%ss) exceeded for %s[%s]", more["limit"], more["task"], more["id"])
