"""Admission: what is to run now, and what becomes of a message that is not. Decides without I/O, and never raises:
whatever is in a message, the answer is work or a settlement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from ..brokers.base import Delivery, Settlement, Shelf, Verdict
from ..client.canvas import kinds
from ..client.request import Context
from ..errors import (
    CeleriacError,
    ContentDisallowed,
    InvalidTaskError,
    NotRegistered,
    TaskRevokedError,
    UnsupportedMessage,
)
from ..foundation import dates
from ..signals import task_received, task_rejected, task_revoked, task_unknown
from ..wire import envelope, protocol1, protocol2
from ..wire.message import Message
from . import members, telling
from .limits import NO_LIMITS, Limits, decide
from .records import Records

if TYPE_CHECKING:
    from ..client.task import Task

logger = logging.getLogger("celery.worker.strategy")
problems = logging.getLogger("celery.worker.consumer")

#: One word of a dead letter's reason for each error that keeps a message from running.
_REASONS: tuple[tuple[type[CeleriacError], str], ...] = (
    (ContentDisallowed, "disallowed"),
    (NotRegistered, "unregistered"),
    (UnsupportedMessage, "unsupported"),
    (InvalidTaskError, "invalid"),
)


class Rates(Protocol):
    """The rate limits of a node, as its runners share them."""

    @property
    def limited(self) -> Mapping[str, object]:
        """By name, the tasks that have one."""
        ...

    def due(self, name: str, now: float) -> float:
        """0.0: one may start now, and is counted. Else when to look at the message again."""
        ...

    def charge(self, name: str, now: float) -> None:
        """One starts that must not wait."""
        ...

    def change(self, name: str, limit: object) -> None: ...


class Admitted(Struct):
    """A delivery that is to run."""

    delivery: Delivery
    task: Any
    request: Context
    args: Any
    kwargs: Any
    #: To be acknowledged before the run (`acks_late=False`, set explicitly).
    early: bool = False
    acknowledged: bool = False
    #: How long it may run; None: as long as it takes.
    limits: Limits | None = None

    def acknowledge(self) -> None:
        """The broker has forgotten the message: the settlement only stores and publishes."""
        self.early, self.acknowledged = False, True


class Admission:
    """`tasks` by name; `accept` content types; `records` for the states of what does not run; `zone` is the app's;
    `consumer` is what receivers of signals get as the sender."""

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        accept: frozenset[str],
        records: Records,
        hostname: str,
        zone: tzinfo = UTC,
        consumer: telling.Consumer | None = None,
        limits: Limits = NO_LIMITS,
        chances: tuple[float, int] = (0.0, 0),
        rates: Rates | None = None,
    ) -> None:
        #: Which tasks may not start at any time; None: none of this worker.
        self._rates = rates
        #: In how many seconds, and how often, what no worker knows yet is tried again: it may be about to be deployed.
        self._chances = chances
        #: What the settings say of tasks that have no limits of their own.
        self._limits = limits
        self._limited = bool(limits.soft or limits.hard)
        self._tasks = tasks
        self._accept = accept
        self._records = records
        self._hostname = hostname
        self._zone = zone
        self._consumer = consumer

    def admit(self, delivery: Delivery, now: float) -> Admitted | Settlement:
        """`now` by the server's clock, seconds since the epoch."""
        message: Message | None = None
        try:
            message = envelope.decode(delivery.payload)
            if "task" not in message.headers:
                message = protocol1.to_protocol2(message, self._accept)
            _, task_id = protocol2.identify(message)
            if not task_id.isascii():
                task_id.encode()  # see `_text`: it could run, and its end never be told
            eta = message.headers.get("eta")
            if eta:
                due = dates.epoch(eta, self._zone_of(message))
                if due > now:
                    return Settlement(delivery, Verdict.PUT_OFF, due=due)
            return self._enter(delivery, message, now)
        except CeleriacError as error:
            return self._refuse(delivery, message, error)
        except Exception as error:
            # A header of the wrong shape, deep inside: the message is at fault, and the next one is not. An error that
            # ended the runner would meet the next one again, and again, since no strike counts it.
            return self._refuse(delivery, message, InvalidTaskError(f"{type(error).__name__}: {error}"))

    def _enter(self, delivery: Delivery, message: Message, now: float) -> Admitted | Settlement:
        name = message.headers["task"]
        try:
            task = self._tasks[name]
        except KeyError:
            raise NotRegistered(f"no task of this worker is named {name!r}") from None
        if self._rates is not None and name in self._rates.limited and (due := self._wait(delivery, message, now)):
            return Settlement(delivery, Verdict.PUT_OFF, due=due)
        args, kwargs, embed = protocol2.read_body(message, self._accept)
        if embed["chord"] or embed["chain"] or embed["callbacks"] or embed["errbacks"]:
            _check_canvas(embed, self._records.counts)
        request = Context.from_message(
            message, args, kwargs, embed, hostname=self._hostname, redelivered=delivery.strikes > 0
        )
        if request.expires and dates.epoch(request.expires, self._zone_of(message)) < now:
            return self._expired(delivery, task, request)
        if logger.isEnabledFor(logging.INFO):
            logger.info("Task %s[%s] received", name, request.id)
        if task_received.receivers:
            telling.received(self._consumer, request, task, message)
        admitted = Admitted(delivery, task, request, args, kwargs, task.acks_late is False)
        if self._limited or request.time_limit or request.soft_time_limit or task.time_limit or task.soft_time_limit:
            admitted.limits = decide(request, task, self._limits)
        return admitted

    def change_rate(self, task: str, limit: str | float | None) -> None:
        """While the worker runs. Raises: ImproperlyConfigured."""
        if self._rates is not None and task in self._tasks:
            self._rates.change(task, limit)

    def _wait(self, delivery: Delivery, message: Message, now: float) -> float:
        """Until when a message of a rate-limited task must wait; 0.0: it may start, and is counted."""
        assert self._rates is not None
        name, expires = message.headers["task"], message.headers.get("expires")
        if expires and dates.epoch(expires, self._zone_of(message)) < now:
            return 0.0  # it will not run, and takes nobody's turn
        if delivery.shelf is not Shelf.READY:  # where it waited, its strikes would be forgotten
            self._rates.charge(name, now)
            return 0.0
        return self._rates.due(name, now)

    def _zone_of(self, message: Message) -> tzinfo:
        """Of times that name no zone: UTC, as in Celery; the app's only where an old message says so."""
        return self._zone if message.headers.get("utc") is False else UTC

    def _expired(self, delivery: Delivery, task: Task[..., Any], request: Context) -> Settlement:
        logger.info("Discarding revoked task: %s[%s]", task.name, request.id)
        if task_revoked.receivers:
            telling.revoked(task, request, expired=True)
        record, error = None, TaskRevokedError("expired")
        if request.chord or not request.ignores_result(task.ignore_result):
            record = self._records.revoked(request, error)
        return members.ended(self._records, Settlement(delivery, record=record), request, record, error)

    def _refuse(self, delivery: Delivery, message: Message | None, error: CeleriacError) -> Settlement:
        """Keep it as a dead letter, and tell whoever waits for its result."""
        reason = next((word for kind, word in _REASONS if isinstance(error, kind)), "undecodable")
        headers: Mapping[str, Any] = message.headers if message is not None else {}
        task, task_id = _text(headers.get("task")), _text(headers.get("id"))
        problems.error(
            "A message of queue %r cannot run and is kept as a dead letter (%s): %s [task %s, id %s]",
            delivery.queue, reason, error, task or "unknown", task_id or "unknown",
        )  # fmt: skip
        if task_unknown.receivers or task_rejected.receivers:
            telling.refused(self._consumer, message, error)
        record = None
        if task_id and not headers.get("ignore_result"):
            try:
                record = self._records.failure(Context(id=task_id, task=task), error, None)
            except CeleriacError:
                problems.exception("the refusal of %s cannot be stored", task_id)
        after, often = self._chances if reason == "unregistered" else (0.0, 0)
        dead = Settlement(
            delivery, Verdict.DEAD, record=record, reason=reason, detail=str(error), task=task, task_id=task_id,
            again_after=after, again_most=often,
        )  # fmt: skip
        # With a second chance too: its FAILURE is told now, and a chord that waited for the last might do so for ever.
        return dead if message is None else self._bereaved(dead, message, error)

    def _bereaved(self, dead: Settlement, message: Message, error: CeleriacError) -> Settlement:
        """With the end of what waits for it, as far as the message can be read."""
        if not self._records.counts:
            return dead
        try:
            request = Context.from_message(message, *protocol2.read_body(message, self._accept))
            return members.ended(
                self._records, dead, request, dead.record or self._records.failure(request, error, None), error
            )
        except Exception:  # whatever stands in it: it is set aside all the same
            return dead


def _check_canvas(embed: protocol2.Embed, counts: bool) -> None:
    """Raises: UnsupportedMessage for what would be lost on the way, before anything has run. `counts`: the engine
    counts members of chords."""
    if embed["chord"] and not counts:
        raise UnsupportedMessage("it is a member of a chord, which this engine cannot count yet")
    for role in ("callbacks", "errbacks", "chain"):
        for signature in embed[role] or ():
            _check_kind(signature, role, counts)


def _check_kind(signature: Mapping[str, Any], role: str, counts: bool) -> None:
    kind = signature.get("subtask_type")
    if not kind:
        return
    if kind == "chord" and not counts:
        raise UnsupportedMessage(f"a chord among its {role} cannot be counted yet by this engine")
    kinds.load(kind)  # one that nobody knows, or a stock client's own
    kwargs = signature.get("kwargs") or {}
    for member in kwargs.get("tasks") or ():
        _check_kind(member, role, counts)


def _text(value: object) -> str:
    """The header if a store can hold it: JSON may hide half a character in a text, which none takes."""
    return value if isinstance(value, str) and value == value.encode(errors="ignore").decode() else ""
