"""The settler: hands outcomes to the broker, results first where they live on another server.

Where broker and backend are joined, a settlement is one step of the broker. Elsewhere the order is results, then
follow-ups and acknowledgement: what is repeated after a crash in between is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..backends.base import Backend
from ..brokers.base import Consumer, Settlement, Shelf, Turn
from ..client import announcing
from ..errors import CeleriacError, OperationalError
from ..signals import after_task_publish


class Settler:
    """A consumer and the backend that it must be told apart from (None: joined, or no results kept)."""

    def __init__(self, consumer: Consumer, backend: Backend | None) -> None:
        self.consumer = consumer
        self._backend = backend
        #: Given to us and not yet to the consumer, because the backend was away. The consumer keeps its own.
        self._kept: list[Settlement] = []
        #: Handed to the consumer, with follow-ups that somebody wants to hear of once the broker has them.
        self._announced: list[Settlement] = []

    def send(
        self, settlements: Sequence[Settlement], limit: int, max_bytes: int = 0, shelf: Shelf = Shelf.READY
    ) -> None:
        """As `Consumer.send`. Raises: OperationalError, with nothing acknowledged that was not stored; the next `send`
        begins with what could not be stored. After any other error the settlements are the caller's, as before."""
        if self._backend is not None:
            settlements = [*self._kept, *settlements]
            records = [settlement.record for settlement in settlements if settlement.record is not None]
            try:
                if records:
                    self._backend.put_many(records)
            except OperationalError:
                self._kept = settlements
                raise
            self._kept = []
        if after_task_publish.receivers:
            self._announced += [settlement for settlement in settlements if settlement.follow_ups]
        self.consumer.send(settlements, limit, max_bytes=max_bytes, shelf=shelf)

    def receive(self) -> Turn:
        try:
            turn = self.consumer.receive()
        except CeleriacError as error:
            if not isinstance(error, OperationalError):
                self._announced = []  # refused as a whole: they are handed to us again
            raise
        if self._announced:
            self._announce(turn.refused)
        return turn

    def _announce(self, refused: tuple[int, ...]) -> None:
        announced, self._announced = self._announced, []
        for settlement in announced:
            if settlement.delivery is None or settlement.delivery.receipt not in refused:
                announcing.published(settlement.follow_ups)

    def settle(self, settlements: Sequence[Settlement]) -> Turn:
        """Settle, reserve nothing, wait for the answer."""
        self.send(settlements, 0)
        return self.receive()

    def close(self) -> None:
        self.consumer.close()
