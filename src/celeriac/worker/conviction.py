"""Conviction: what is stored of a run whose process is gone, and what becomes of its message. No I/O.

It is the supervisor's word in place of the tracer's: the app's code is not here, only what the plan says of its tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..brokers.base import Delivery, Settlement, Verdict
from ..client.request import Context
from ..errors import CeleriacError, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from ..execution.records import Records
from ..wire import envelope
from .plan import Plan, Policy
from .supervisor.fates import Lost, Terminated, TimedOut

if TYPE_CHECKING:
    from ..client.app import Celery


class Subject(Struct, frozen=True):
    """Whose run it was, as far as the message can be read."""

    request: Context
    task: str
    task_id: str
    policy: Policy
    #: Whether anybody may look for its result.
    stored: bool


class Conviction:
    """Judges by the plan's policies (`supervisor.verdicts.Judge`); `kept` False where no results are kept."""

    def __init__(self, app: Celery, plan: Plan, *, kept: bool) -> None:
        self.max_strikes = plan.max_strikes
        self._plan = plan
        self._records = Records(app, lambda: datetime.now(UTC), kept)

    def convict(self, delivery: Delivery, strikes: int, how: str) -> Settlement:
        """A dead letter, and FAILURE with WorkerLostError for whoever waits."""
        detail = f"Worker exited prematurely: {how}. The process died {strikes} times while it ran this message."
        subject = self._subject(delivery)
        return Settlement(
            delivery,
            Verdict.DEAD,
            record=self._failure(subject, WorkerLostError(detail)),
            reason="lost",
            detail=detail,
            task=subject.task,
            task_id=subject.task_id,
            strikes=strikes,
        )

    def lost(self, delivery: Delivery, fate: Lost) -> Settlement | None:
        """None: at least once, it runs again."""
        return None

    def timed_out(self, delivery: Delivery, fate: TimedOut) -> Settlement:
        """Acknowledged, with FAILURE and TimeLimitExceeded stored."""
        subject = self._subject(delivery)
        return Settlement(delivery, record=self._failure(subject, TimeLimitExceeded(fate.limit)))

    def terminated(self, delivery: Delivery, fate: Terminated) -> Settlement:
        """Acknowledged, with REVOKED stored."""
        subject = self._subject(delivery)
        record = self._records.revoked(subject.request, TaskRevokedError("terminated")) if subject.stored else None
        return Settlement(delivery, record=record)

    def _failure(self, subject: Subject, error: BaseException) -> Any:
        return self._records.failure(subject.request, error, None) if subject.stored else None

    def _subject(self, delivery: Delivery) -> Subject:
        headers: Mapping[str, Any] = {}
        try:
            headers = envelope.decode(delivery.payload).headers
        except CeleriacError:
            pass  # what cannot be read did not run under this name either
        task, task_id = str(headers.get("task") or ""), str(headers.get("id") or "")
        request = Context(id=task_id, task=task, group=headers.get("group"), parent_id=headers.get("parent_id"))
        policy = self._plan.policies.get(task, self._plan.policy)
        return Subject(request, task, task_id, policy, bool(task_id) and not headers.get("ignore_result"))
