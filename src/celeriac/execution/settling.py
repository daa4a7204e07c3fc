"""From an outcome to a settlement: what is stored, what is published, what becomes of the delivery. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from ..brokers.base import Outgoing, Settlement, Shelf, Verdict
from ..client.progress import seconds
from ..client.request import Context
from ..errors import Ignore, Reject, TaskRevokedError, TimeLimitExceeded
from ..signals import task_internal_error
from ..wire.message import Record
from . import follow_up, members, telling
from .admission import Admitted
from .outcome import Failure, Outcome, Rejected, Retried, Revoked, Success, traceback_text
from .records import Records

if TYPE_CHECKING:
    from ..client.app import Celery

logger = logging.getLogger("celery.app.trace")

#: Characters of a traceback that a dead letter keeps.
_LONGEST = 50_000


class Settled(Struct, frozen=True):
    """The settlement (None: nothing left to do), the outcome that it stands for, and what is to be called here."""

    settlement: Settlement | None
    outcome: Outcome
    calls: tuple[Callable[[], Any], ...] = ()


class Settling:
    """Makes settlements for the tasks of one app."""

    def __init__(self, app: Celery, records: Records) -> None:
        self._app = app
        self.records = records

    def settle(self, work: Admitted, outcome: Outcome) -> Settled:
        """Never raises: what cannot be written or published makes the outcome a failure, and what even then cannot be
        settled is set aside. (An error here would end the runner and leave the message to the next one, for ever.)"""
        try:
            return self._settled(work, outcome)
        except Exception as error:
            logger.exception("Task %s[%s]: its outcome cannot be settled", work.task.name, work.request.id)
            if task_internal_error.receivers:
                telling.internal_error(work.task, work.request, error, traceback_text(error, __file__))
            return self._set_aside(work, outcome, error)

    def _settled(self, work: Admitted, outcome: Outcome) -> Settled:
        if isinstance(outcome, Success):
            return self._success(work, outcome)
        if isinstance(outcome, Failure):
            return self._failed(work, outcome)
        if isinstance(outcome, Retried):
            return self._retried(work, outcome)
        if isinstance(outcome, Rejected):
            return self._rejected(work, outcome)
        if isinstance(outcome, Revoked):
            return self._revoked(work, outcome)
        settled = _done(work, outcome, None, ())
        if work.request.chord and not work.request._replaced:
            # Ignored: nothing is stored of it, and still its chord must end.
            error = Ignore("a member of the chord was ignored")
            return self._counted(work.request, settled, self.records.failure(work.request, error, None), error)
        return settled

    def _success(self, work: Admitted, outcome: Success) -> Settled:
        request = work.request
        try:
            messages: tuple[Outgoing, ...] = ()
            children: list[Any] = []
            if request.callbacks or request.chain:
                caused = follow_up.on_success(self._app, request, outcome.value)
                messages = tuple(outgoing for outgoing, _ in caused)
                children = [[[task_id, None], None] for _, task_id in caused if task_id is not None]
            record = None
            if request.chord or not request.ignores_result(work.task.ignore_result):
                record = self.records.success(request, outcome.value, children)
        except Exception as error:  # EncodeError mostly; a value may run any code when it is written
            return self._failed(work, Failure(error, traceback_text(error, __file__)))
        settled = _done(work, outcome, record, messages)
        return self._counted(request, settled, record) if request.chord else settled

    def _counted(
        self, request: Context, settled: Settled, record: Record | None, error: BaseException | None = None,
        traceback: str | None = None,
    ) -> Settled:  # fmt: skip
        """The same, with what ends beside the run."""
        if settled.settlement is None:
            return settled
        settlement = members.ended(self.records, settled.settlement, request, record, error, traceback)
        return Settled(settlement, settled.outcome, settled.calls)

    def _failed(self, work: Admitted, outcome: Failure) -> Settled:
        """Acknowledged, unless the task's options say otherwise (docs/acknowledgement.md)."""
        task, delivery = work.task, work.delivery
        if work.acknowledged:
            return self._failure(work, outcome)
        if not isinstance(outcome.error, TimeLimitExceeded):
            settled = self._failure(work, outcome)
            kept = task.acks_on_failure is False or task.dead_letter
            return self._aside(work, settled, "failed", outcome) if kept else settled
        strikes = delivery.strikes + 1
        if task.acks_on_timeout is not False:
            settled = self._failure(work, outcome)
            return self._aside(work, settled, "timeout", outcome) if task.dead_letter else settled
        if strikes >= int(self._app.conf.task_max_strikes):
            return self._aside(work, self._failure(work, outcome), "timeout", outcome, strikes)
        return Settled(Settlement(delivery, Verdict.REQUEUE, shelf=Shelf.SUSPECT, strikes=strikes), outcome)

    def _aside(self, work: Admitted, settled: Settled, reason: str, outcome: Failure, strikes: int = 0) -> Settled:
        """The same, with the message kept as a dead letter."""
        assert settled.settlement is not None
        after, often = chances(work.task.dead_letter_requeue_after, work.task.dead_letter_max_requeues)
        verdict = structs.replace(
            settled.settlement,
            verdict=Verdict.DEAD,
            reason=reason,
            detail=_detail(outcome.error),
            traceback=_bounded(outcome.traceback),
            again_after=after,
            again_most=often,
            task=work.task.name,
            task_id=work.request.id or "",
            strikes=strikes or work.delivery.strikes,
        )
        return Settled(verdict, outcome, settled.calls)

    def _failure(self, work: Admitted, outcome: Failure) -> Settled:
        request, task = work.request, work.task
        record = None
        kept = not request.ignores_result(task.ignore_result) or task.store_errors_even_if_ignored
        if kept or request.chord:
            record = self.records.failure(request, outcome.error, outcome.traceback or None)
        messages: list[Outgoing] = []
        calls: list[Callable[[], Any]] = []
        if request.errbacks:
            try:
                messages, calls = follow_up.on_failure(self._app, request, outcome.error, outcome.traceback)
            except Exception:  # whatever stands in the message: the failure itself is stored all the same
                logger.exception("Task %s[%s]: its errbacks cannot be called", task.name, request.id)
        settled = _done(work, outcome, record, tuple(messages), tuple(calls))
        if request.chord or request.chain:
            return self._counted(request, settled, record, outcome.error, outcome.traceback or None)
        return settled

    def _set_aside(self, work: Admitted, outcome: Outcome, error: Exception) -> Settled:
        """A dead letter, with a result of the bare minimum."""
        task, task_id = work.task.name, work.request.id or ""
        record = None
        if work.request.chord or not work.request.ignores_result(work.task.ignore_result):
            try:
                bare = Records(self._app, self.records.now, self.records.kept, extended=False)
                record = bare.failure(Context(id=task_id, task=task), error, None)
            except Exception:
                logger.exception("Task %s[%s]: not even its failure can be stored", task, task_id)
        if work.acknowledged:
            if record is None:
                return Settled(None, outcome)
            return self._bereaved(work, Settled(Settlement(None, Verdict.DONE, record), outcome), error)
        detail = f"it ran, and its outcome could not be settled: {_detail(error)}"
        verdict = Settlement(
            work.delivery, Verdict.DEAD, record=record, reason="unsettled", detail=detail, task=task, task_id=task_id
        )
        return self._bereaved(work, Settled(verdict, outcome), error)

    def _bereaved(self, work: Admitted, settled: Settled, error: Exception) -> Settled:
        """With what waits for it, unless that cannot be settled either."""
        assert settled.settlement is not None
        try:
            return self._counted(work.request, settled, settled.settlement.record, error)
        except Exception:
            logger.exception("Task %s[%s]: what waits for it cannot be ended", work.task.name, work.request.id)
            return settled

    def _retried(self, work: Admitted, outcome: Retried) -> Settled:
        request = work.request
        record = None
        if not request.ignores_result(work.task.ignore_result):
            record = self.records.retry(request, outcome.retry.exc or outcome.retry, outcome.traceback)
        return _done(work, outcome, record, ())

    def _revoked(self, work: Admitted, outcome: Revoked) -> Settled:
        record = None
        error = TaskRevokedError("terminated")
        if work.request.chord or not work.request.ignores_result(work.task.ignore_result):
            record = self.records.revoked(work.request, error)
        return self._counted(work.request, _done(work, outcome, record, ()), record, error)

    def _rejected(self, work: Admitted, outcome: Rejected) -> Settled:
        delivery = work.delivery
        if not outcome.requeue:
            return self._refused(work, outcome)
        if work.acknowledged:
            return Settled(None, outcome)
        verdict = Settlement(delivery, Verdict.REQUEUE, shelf=delivery.shelf, strikes=delivery.strikes)
        return Settled(verdict, outcome)

    def _refused(self, work: Admitted, outcome: Rejected) -> Settled:
        """Nothing will run it: a dead letter for whoever operates it, a failure for whoever waits, as in Celery."""
        failed = self._failure(work, Failure(Reject(outcome.reason, False), ""))
        if work.acknowledged or failed.settlement is None:
            return Settled(failed.settlement, outcome, failed.calls)
        after, often = chances(work.task.dead_letter_requeue_after, work.task.dead_letter_max_requeues)
        verdict = Settlement(
            work.delivery,
            Verdict.DEAD,
            record=failed.settlement.record,
            follow_ups=failed.settlement.follow_ups,
            members=failed.settlement.members,
            also=failed.settlement.also,
            reason="rejected",
            detail=_bounded(str(outcome.reason)),
            again_after=after,
            again_most=often,
            task=work.task.name,
            task_id=work.request.id or "",
        )
        return Settled(verdict, outcome, failed.calls)


def chances(after: timedelta | float | None, most: int | None) -> tuple[float, int]:
    """`Settlement.again_after` and `again_most` for a task's options, or the app's settings."""
    return float(seconds(after) or 0.0), int(most or 0)


def _detail(error: BaseException) -> str:
    try:
        return _bounded(f"{type(error).__name__}: {error}")
    except Exception as odd:  # an exception that cannot be shown
        return f"{type(error).__name__} (its text cannot be had: {type(odd).__name__})"


def _bounded(text: str) -> str:
    """The end says what went wrong, and no store takes half a character."""
    text = text if len(text) <= _LONGEST else f"…{text[-_LONGEST:]}"
    return text.encode("utf-8", "replace").decode()


def _done(
    work: Admitted,
    outcome: Outcome,
    record: Any,
    messages: tuple[Outgoing, ...],
    calls: tuple[Callable[[], Any], ...] = (),
) -> Settled:
    request = work.request
    own = request._follow_ups
    if own:  # the message of a retry
        messages = (*own, *messages)
    if work.acknowledged:
        if record is None and not messages:
            return Settled(None, outcome, calls)
        return Settled(Settlement(None, Verdict.DONE, record, messages), outcome, calls)
    return Settled(Settlement(work.delivery, Verdict.DONE, record, messages), outcome, calls)
