"""Conviction: what is stored of a run whose process is gone, and what becomes of its message. No I/O.

It is the supervisor's word in place of the tracer's: the app's code is not here, only what the plan says of its tasks.
The page `docs/acknowledgement.md` is the table of what is decided here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs

from ..brokers.base import Delivery, Outgoing, Settlement, Shelf, Verdict
from ..client.request import Context
from ..errors import CeleriacError, ImproperlyConfigured, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from ..execution import follow_up, members
from ..execution.records import Records
from ..wire import envelope, protocol1, protocol2, serializers
from ..wire.message import Message, Record
from .plan import Plan, Policy
from .supervisor.fates import Lost, Terminated, TimedOut

if TYPE_CHECKING:
    from ..client.app import Celery

logger = logging.getLogger("celery.worker.request")


#: (word, whose run it was, more)
Tell = Callable[[str, Delivery, dict[str, Any]], None]


class Subject(Struct, frozen=True):
    """Whose run it was, as far as the message can be read."""

    request: Context
    policy: Policy
    #: None: it cannot be read, and surely did not run.
    message: Message | None = None

    @property
    def task(self) -> str:
        return str(self.request.get("task") or "")

    @property
    def task_id(self) -> str:
        return self.request.id or ""

    @property
    def stores(self) -> bool:
        """Whether anybody may look for its result."""
        return bool(self.task_id) and not self.request.ignores_result(self.policy.ignore_result)

    @property
    def stores_errors(self) -> bool:
        return self.stores or bool(self.task_id and self.policy.store_errors_even_if_ignored)

    @property
    def late(self) -> bool:
        return self.policy.acks_late is not False


class Conviction:
    """Judges by the plan's policies (`supervisor.verdicts.Judge`); `kept` False where no results are kept; `counts`
    where the engine counts members of chords."""

    def __init__(
        self, app: Celery, plan: Plan, *, kept: bool, counts: bool = False, now: Callable[[], datetime] | None = None
    ) -> None:
        self.max_strikes = plan.max_strikes
        self._app = app
        self._plan = plan
        self._accept = _known_types(app.conf.accept_content or ())
        self._now = now or (lambda: datetime.now(UTC))
        self._records = Records(app, self._now, kept, counts=counts)
        #: Told of each verdict: `failed` or `revoked`, the message, and what Celery's signal says of it.
        self.tell: Tell = lambda word, delivery, more: None

    def renew(self, plan: Plan) -> None:
        """The app was loaded anew: judge by its options from here on."""
        self._plan = plan

    def convict(self, delivery: Delivery, strikes: int, how: str) -> Settlement:
        """A dead letter, and FAILURE with WorkerLostError for whoever waits."""
        detail = f"Worker exited prematurely: {how}. The process died {strikes} times while it ran this message."
        subject = self._subject(delivery)
        error = WorkerLostError(detail)
        logger.error("Task handler raised error: %r [%s, %s]", error, subject.task, subject.task_id)
        return self._dead(delivery, subject, error, "lost", strikes)

    def lost(self, delivery: Delivery, fate: Lost) -> Settlement | None:
        """By its own options: tried again as a new message, or a failure. None: nothing was set, it runs again."""
        subject = self._subject(delivery)
        if not subject.late:
            return None  # not acknowledged yet, so it had not begun
        settlement = self._lost(delivery, subject, fate, fails=subject.policy.reject_on_worker_lost is False)
        if settlement is None:  # whoever is paged for dying processes asks what ran in them
            strike = f"strike {delivery.strikes + 1} of {self.max_strikes}"
            logger.warning("Task %s[%s] lost its process (%s): %s", subject.task, subject.task_id, fate.how, strike)
        return settlement

    def gone(self, delivery: Delivery, fate: Lost | TimedOut | Terminated) -> Settlement | None:
        """It had been acknowledged before its run: what is stored, and what follows."""
        subject = self._subject(delivery)
        if isinstance(fate, Lost):
            settlement = self._lost(delivery, subject, fate, fails=True)
        elif isinstance(fate, TimedOut):
            settlement = self.timed_out(delivery, fate)
        else:
            settlement = self.terminated(delivery, fate)
        if settlement is None or not (
            settlement.record or settlement.follow_ups or settlement.members or settlement.also
        ):
            return None
        return structs.replace(settlement, delivery=None, verdict=Verdict.DONE)

    def timed_out(self, delivery: Delivery, fate: TimedOut) -> Settlement:
        """FAILURE with TimeLimitExceeded; with `acks_on_timeout` off back with a strike, as often as strikes go."""
        subject = self._subject(delivery)
        error = TimeLimitExceeded(fate.limit)
        logger.error("Hard time limit (%ss) exceeded for %s[%s]", fate.limit, subject.task, subject.task_id)
        if subject.late and subject.policy.acks_on_timeout is not False and subject.policy.dead_letter:
            return self._dead(delivery, subject, error, "timeout", delivery.strikes)
        if not subject.late or subject.policy.acks_on_timeout is not False:
            return self._failed(delivery, subject, error)
        strikes = delivery.strikes + 1
        if strikes >= self.max_strikes:
            return self._dead(delivery, subject, error, "timeout", strikes)
        self._told_failed(delivery, error)
        return Settlement(delivery, Verdict.REQUEUE, shelf=Shelf.SUSPECT, strikes=strikes)

    def terminated(self, delivery: Delivery, fate: Terminated) -> Settlement:
        """Acknowledged, with REVOKED stored."""
        subject = self._subject(delivery)
        error = TaskRevokedError("terminated")
        record = self._records.revoked(subject.request, error)
        self.tell("revoked", delivery, {"signum": fate.signal})
        return self._ended(Settlement(delivery, record=record if subject.stores else None), subject, record, error)

    # -- parts -------------------------------------------------------------------------------------------------------

    def _lost(self, delivery: Delivery, subject: Subject, fate: Lost, *, fails: bool) -> Settlement | None:
        error = WorkerLostError(f"Worker exited prematurely: {fate.how}.")
        policy = subject.policy
        if policy.retry_on_worker_lost and subject.message is not None:
            most = policy.max_retries
            if most is None or (subject.request.retries or 0) < most:
                return self._again(delivery, subject, subject.message, error)
            fails = True
        if not fails:
            return None
        logger.error("Task handler raised error: %r [%s, %s]", error, subject.task, subject.task_id)
        if subject.late and (policy.acks_on_failure is False or policy.dead_letter):
            return self._dead(delivery, subject, error, "failed", delivery.strikes)
        return self._failed(delivery, subject, error)

    def _failed(self, delivery: Delivery, subject: Subject, error: BaseException) -> Settlement:
        record = self._records.failure(subject.request, error, None)
        self._told_failed(delivery, error)
        stored = record if subject.stores_errors else None
        settlement = Settlement(delivery, record=stored, follow_ups=self._errbacks(subject, error))
        return self._ended(settlement, subject, record, error)

    def _ended(
        self, settlement: Settlement, subject: Subject, record: Record | None, error: BaseException
    ) -> Settlement:
        """With what ends beside it: its part of a chord, and the rest of its chain."""
        try:
            return members.ended(self._records, settlement, subject.request, record, error)
        except Exception:  # whatever stands in the message: the failure itself is stored all the same
            logger.exception("Task %s[%s]: what waits for it cannot be ended", subject.task, subject.task_id)
            return settlement

    def _told_failed(self, delivery: Delivery, error: BaseException) -> None:
        self.tell("failed", delivery, {"error": type(error).__name__, "args": list(error.args)})

    def _dead(
        self, delivery: Delivery, subject: Subject, error: BaseException, reason: str, strikes: int
    ) -> Settlement:
        policy = subject.policy
        # What killed its process again and again gets no second chance by itself.
        after = 0.0 if reason == "lost" else policy.dead_letter_requeue_after
        failed = self._failed(delivery, subject, error)
        return structs.replace(
            failed,
            verdict=Verdict.DEAD,
            reason=reason,
            again_after=after or 0.0,
            again_most=policy.dead_letter_max_requeues or 0,
            detail=str(error),
            task=subject.task,
            task_id=subject.task_id,
            strikes=strikes,
        )

    def _again(self, delivery: Delivery, subject: Subject, message: Message, error: BaseException) -> Settlement:
        """What `Task.retry` would send, with RETRY stored."""
        due = self._now() + timedelta(seconds=subject.policy.default_retry_delay)
        retries = (subject.request.retries or 0) + 1
        again = structs.replace(message, headers={**message.headers, "retries": retries, "eta": due.isoformat()})
        priority = message.properties.get("priority")
        outgoing = Outgoing(delivery.queue, again, priority if isinstance(priority, int) else None, due.timestamp())
        record = self._records.retry(subject.request, error, f"{error!r}") if subject.stores else None
        delay = subject.policy.default_retry_delay
        logger.info("Task %s[%s] retry: Retry in %ss: %r", subject.task, subject.task_id, delay, error)
        return Settlement(delivery, record=record, follow_ups=(outgoing,))

    def _errbacks(self, subject: Subject, error: BaseException) -> tuple[Outgoing, ...]:
        """Those that are messages. The others take objects that do not travel: a runner is told, and calls them."""
        if not subject.request.errbacks:
            return ()
        try:
            return tuple(follow_up.on_failure(self._app, subject.request, error, "", self._plan.called_errbacks)[0])
        except Exception:  # whatever stands in the message: the failure itself is stored all the same
            logger.exception("Task %s[%s]: its errbacks cannot be called", subject.task, subject.task_id)
            return ()

    def _subject(self, delivery: Delivery) -> Subject:
        try:
            message = envelope.decode(delivery.payload)
            if "task" not in message.headers:
                message = protocol1.to_protocol2(message, self._accept)
            task, task_id = protocol2.identify(message)
        except CeleriacError:
            return Subject(Context(id=""), self._plan.policy)  # what cannot be read did not run under this name either
        policy = self._plan.policies.get(task, self._plan.policy)
        try:
            request = Context.from_message(message, *protocol2.read_body(message, self._accept))
        except CeleriacError:
            headers = message.headers
            request = Context(id=task_id, task=task, group=headers.get("group"), parent_id=headers.get("parent_id"))
        return Subject(members.whose_end(request), policy, message)


def _known_types(names: Iterable[str]) -> frozenset[str]:
    """Of what is accepted; a serializer that the app's own code registers is not known here."""
    found: set[str] = set()
    for name in names:
        try:
            found |= serializers.content_types((name,))
        except ImproperlyConfigured:
            continue
    return frozenset(found)
