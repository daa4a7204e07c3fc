"""Telling receivers of a task's signals what becomes of it, with Celery's keyword arguments (guide: Signals).

Whoever calls looks at the signal's `receivers` first: where nobody listens nothing here runs. Whatever a receiver
raises is logged and changes nothing, SystemExit and its like too. It decides nothing and stores nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..errors import CeleriacError, Ignore, NotRegistered, Reject
from ..foundation.dispatch import Signal
from ..signals import (
    task_failure,
    task_internal_error,
    task_postrun,
    task_prerun,
    task_received,
    task_rejected,
    task_retry,
    task_revoked,
    task_success,
    task_unknown,
)
from ..states import FAILURE, IGNORED, REJECTED, RETRY, SUCCESS
from ..wire import protocol2
from ..wire.message import Message
from .outcome import ExceptionInfo, Failure, Outcome, Rejected, Retried, Success

if TYPE_CHECKING:
    from ..client.request import Context
    from ..client.task import Task

logger = logging.getLogger("celery.app.trace")


class Consumer(Struct, frozen=True):
    """What a worker's receivers get where Celery's get its consumer: the node's name and its app."""

    hostname: str
    app: Any
    #: What they get where Celery's get its worker.
    controller: Any = None


class Received:
    """What `task_received` gets as `request`: the run's request, and what Celery's request object has beside it."""

    def __init__(self, request: Context, task: Task[..., Any], message: Message) -> None:
        self._request = request
        self.task, self.message = task, message
        self.name = self.task_name = self.type = task.name
        self.task_id = request.id
        self.request_dict = message.headers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def __repr__(self) -> str:
        return f"<Request: {self.name}[{self.task_id}]>"


class Refused:
    """What `task_unknown` and `task_rejected` get as `message`: headers, properties and bytes, and what kombu's has."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self.delivery_info: dict[str, Any] = message.properties.get("delivery_info") or {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)

    @property
    def payload(self) -> Any:
        """The body, decoded. Raises: DecodeError."""
        return protocol2.read_body(self._message, frozenset({self._message.content_type}))


# -- around a run ------------------------------------------------------------------------------------------------------


def prerun(task: Task[..., Any], request: Context, args: Any, kwargs: Any) -> None:
    try:  # not by `_send`: handing on keyword arguments costs as much as all the rest, and these are sent for every run
        task_prerun.send(task, task_id=request.id, task=task, args=args, kwargs=kwargs)
    except BaseException as error:
        _raised(task_prerun, error)


def verdict(task: Task[..., Any], request: Context, result: Outcome, seconds: float) -> None:
    """task_success, task_failure or task_retry."""
    if isinstance(result, Success):
        if task_success.receivers:
            try:
                task_success.send(task, result=result.value, runtime=seconds)
            except BaseException as error:
                _raised(task_success, error)
    elif isinstance(result, Failure):
        failed(task, request, result.error, result.traceback)
    elif isinstance(result, Retried):
        einfo = ExceptionInfo(result.retry, result.traceback)
        _send(task_retry, task, request=request, reason=result.retry, einfo=einfo)


def failed(task: Task[..., Any], request: Context, error: BaseException, text: str) -> None:
    _send(
        task_failure,
        task,
        task_id=request.id,
        exception=error,
        args=request.args,
        kwargs=request.kwargs,
        traceback=error.__traceback__,
        einfo=ExceptionInfo(error, text),
    )


def postrun(task: Task[..., Any], request: Context, result: Outcome) -> None:
    if not task_postrun.receivers:
        return
    state, retval = _returned(result)
    args, kwargs = request.args, request.kwargs
    try:
        task_postrun.send(task, task_id=request.id, task=task, args=args, kwargs=kwargs, retval=retval, state=state)
    except BaseException as error:
        _raised(task_postrun, error)


def internal_error(task: Task[..., Any], request: Context, error: BaseException, text: str) -> None:
    _send(
        task_internal_error,
        task,
        task_id=request.id,
        args=request.args,
        kwargs=request.kwargs,
        request=request,
        exception=error,
        traceback=error.__traceback__,
        einfo=ExceptionInfo(error, text),
    )


def _returned(result: Outcome) -> tuple[str, Any]:
    """The state, and what Celery calls the return value: where there is none, the exception."""
    if isinstance(result, Success):
        return SUCCESS, result.value
    if isinstance(result, Failure):
        return FAILURE, result.error
    if isinstance(result, Retried):
        return RETRY, result.retry
    if isinstance(result, Rejected):
        return REJECTED, Reject(result.reason, result.requeue)
    return IGNORED, Ignore()


# -- instead of a run --------------------------------------------------------------------------------------------------


def received(consumer: Consumer | None, request: Context, task: Task[..., Any], message: Message) -> None:
    _send(task_received, consumer, request=Received(request, task, message))


def revoked(
    task: Task[..., Any], request: Context, *, terminated: bool = False, signum: Any = None, expired: bool = False
) -> None:
    _send(task_revoked, task, request=request, terminated=terminated, signum=signum, expired=expired)


def refused(consumer: Consumer | None, message: Message | None, error: CeleriacError) -> None:
    """A message that cannot run; None where not even an envelope could be read."""
    shown = None if message is None else Refused(message)
    if isinstance(error, NotRegistered) and message is not None:
        name, task_id = message.headers.get("task"), message.headers.get("id")
        _send(task_unknown, consumer, message=shown, exc=error, name=name, id=task_id)
    else:
        _send(task_rejected, consumer, message=shown, exc=error)


def _send(signal: Signal, sender: Any, **named: Any) -> None:
    if signal.receivers:
        try:
            signal.send(sender, **named)
        except BaseException as error:
            _raised(signal, error)


def _raised(signal: Signal, error: BaseException) -> None:
    logger.error("a receiver of %s raised", signal.name, exc_info=error)
