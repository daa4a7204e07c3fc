"""Conviction: setting a message aside because processes died under it, with the error that its caller gets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..brokers.base import Delivery, Settlement, Verdict
from ..client.request import Context
from ..errors import CeleriacError, WorkerLostError
from ..execution.records import Records
from ..wire import envelope

if TYPE_CHECKING:
    from ..client.app import Celery


class Conviction:
    """Makes the settlement; `kept` False where no results are kept."""

    def __init__(self, app: Celery, *, kept: bool) -> None:
        self._records = Records(app, lambda: datetime.now(UTC), kept)

    def convict(self, delivery: Delivery, strikes: int, how: str) -> Settlement:
        """A dead letter, and FAILURE with WorkerLostError for whoever waits."""
        detail = f"Worker exited prematurely: {how}. The process died {strikes} times while it ran this message."
        try:
            headers = envelope.decode(delivery.payload).headers
        except CeleriacError:
            headers = {}
        task, task_id = str(headers.get("task") or ""), str(headers.get("id") or "")
        record = None
        if task_id and not headers.get("ignore_result"):
            request = Context(id=task_id, task=task, group=headers.get("group"), parent_id=headers.get("parent_id"))
            record = self._records.failure(request, WorkerLostError(detail), None)
        return Settlement(
            delivery,
            Verdict.DEAD,
            record=record,
            reason="lost",
            detail=detail,
            task=task,
            task_id=task_id,
            strikes=strikes,
        )
