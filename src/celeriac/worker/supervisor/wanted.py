"""Wanted: what runs here and was revoked with the order to end it. Upkeep asks, in its thread; the loop acts.

The broker says who is revoked, the board what runs, and the broker again which messages those runs are of: no runner is
asked, since one that is to be ended may not answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from ...brokers.base import Broker, Delivery
from ...brokers.revocation import Revocation, changed_rate
from ...errors import CeleriacError
from ...execution.revocations import Known
from ...wire import envelope, protocol1
from .board import Board

#: Seconds for which an order counts: what a runner had reserved before it heard of it begins within them, or is asked.
_LONG_ENOUGH = 3.0


class Found(Struct, frozen=True):
    """A run that is to end."""

    slot: int
    consumer: str
    receipt: int
    signal: int
    task_id: str


class Wanted:
    """`look` every now and then."""

    def __init__(self, broker: Broker, queues: Sequence[str], board: Board) -> None:
        self._broker = broker
        self._queues = queues
        self._board = board
        #: None: what was revoked before we came is not running here.
        self._revision: int | None = None
        self._recent: deque[tuple[float, Revocation]] = deque()
        #: Rate limits that were changed since somebody took them from here: (task, limit).
        self.rates: list[tuple[str, str]] = []

    def look(self, consumers: Mapping[str, int], now: float) -> tuple[list[Found], list[Revocation]]:
        """`consumers` are ours, with their slots. Returns the runs that are to end, and the orders that count, by which
        the loop finds what the broker does not know. Raises: OperationalError."""
        revision, entries = self._broker.revocations(self._revision or 0)
        self.rates += filter(None, map(changed_rate, entries))
        if self._revision is not None:
            self._recent.extend((now, entry) for entry in entries if entry.terminate)
        self._revision = revision
        while self._recent and now - self._recent[0][0] > _LONG_ENOUGH:
            self._recent.popleft()
        orders = [entry for _, entry in self._recent]
        return (list(self._find(consumers, Known(orders))), orders) if orders else ([], [])

    def _find(self, consumers: Mapping[str, int], known: Known) -> Iterable[Found]:
        for consumer, slot in consumers.items():
            running = {run.receipt for run in self._board.runs(slot)}
            for delivery in self._broker.held(consumer, self._queues) if running else ():
                entry = wanted(delivery, known) if delivery.receipt in running else None
                if entry is not None:
                    yield Found(slot, consumer, delivery.receipt, entry[0].signal, entry[1])


def wanted(delivery: Delivery, known: Known) -> tuple[Revocation, str] | None:
    """The order to end it, and its task's id."""
    headers = _headers(delivery.payload)
    found = known.find(headers)
    return None if found is None else (found[0], str(headers.get("id")))


def _headers(payload: bytes) -> Mapping[str, Any]:
    try:
        message = envelope.decode(payload)
        return (message if "task" in message.headers else protocol1.to_protocol2(message)).headers
    except CeleriacError:
        return {}
