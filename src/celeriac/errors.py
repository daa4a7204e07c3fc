"""Every exception that celeriac raises, and nothing else.

Names and meanings are Celery's wherever user code can meet them (`celery.exceptions`); what a stock peer must
rebuild is named `celery.exceptions.…` on the wire, which is `wire.failure`'s business, not this module's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = [
    "AlreadyRegistered",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "BrokerError",
    "CPendingDeprecationWarning",
    "CeleriacError",
    "CeleryError",
    "ChordError",
    "ChordsNotCounted",
    "ContentDisallowed",
    "DecodeError",
    "EncodeError",
    "FencedError",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "LayoutError",
    "MaxRetriesExceededError",
    "NaiveEtaWarning",
    "NotRegistered",
    "OperationalError",
    "QueueFull",
    "QueueNotFound",
    "Reject",
    "Retry",
    "SecurityError",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "UnsupportedMessage",
    "WorkerLostError",
]


class CeleriacError(Exception):
    """Base of every error of this package."""


#: Celery's name for the same thing.
CeleryError = CeleriacError


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Celery's warning category of the same name."""


class NaiveEtaWarning(UserWarning):
    """A naive `eta` was given: the text names the instant it was taken for, and the other one it could mean."""


# -- settings and registration ---------------------------------------------------------------------------------------


class ImproperlyConfigured(CeleriacError):
    """A setting is missing, unknown or has a value that cannot work; the text says what to set."""


class NotRegistered(KeyError, CeleriacError):
    """The task is not in the registry."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class AlreadyRegistered(CeleriacError):
    """Two different callables claim one task name."""


class QueueNotFound(KeyError, CeleriacError):
    """A queue was named that does not exist and may not be created."""


class SecurityError(CeleriacError):
    """A message or setting breaks the security policy."""


# -- messages --------------------------------------------------------------------------------------------------------


class EncodeError(CeleriacError):
    """A value cannot be written in the chosen serializer; the text names the value's place and type."""


class DecodeError(CeleriacError):
    """Bytes do not decode."""


class ContentDisallowed(CeleriacError):
    """The content type is not accepted; the text names the setting that would accept it."""


class InvalidTaskError(CeleriacError):
    """The message is readable but is no task message."""


class UnsupportedMessage(CeleriacError):
    """The message asks for something this version does not do; it is kept as a dead letter."""


# -- brokers and backends --------------------------------------------------------------------------------------------


class OperationalError(CeleriacError):
    """The server could not be reached, or did not answer, within the deadline.

    `unsent` is True where the command surely never left: then it may be tried again without fear of doubling.
    """

    unsent: bool = False


class BrokerError(CeleriacError):
    """The broker answered, and refused."""


class QueueFull(BrokerError):
    """The queue holds as many messages as `queue_max_length` lets producers put there: nothing of the call was queued.

    `queue`, its `length` when it was refused, the `limit`; `hopeless` where the call alone has more messages than that.
    """

    def __init__(self, *args: Any, queue: str = "", length: int = 0, limit: int = 0, hopeless: bool = False) -> None:
        self.queue = queue
        self.length = length
        self.limit = limit
        self.hopeless = hopeless
        super().__init__(*args)


class BackendError(CeleriacError):
    """The result backend answered, and refused."""


class BackendGetMetaError(BackendError):
    """Reading a result failed; `task_id` says whose."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_id: str = kwargs.get("task_id", "")
        super().__init__(*args)


class BackendStoreError(BackendError):
    """Storing a result failed; `task_id` says whose, `state` which."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: str = kwargs.get("state", "")
        self.task_id: str = kwargs.get("task_id", "")
        super().__init__(*args)


class LayoutError(CeleriacError):
    """Keys or tables were written by a newer layout than this version knows."""


class FencedError(CeleriacError):
    """This consumer was declared dead: its deliveries belong to others now, and it may reserve no more."""


# -- results ---------------------------------------------------------------------------------------------------------


class TaskError(CeleriacError):
    """Base of errors that end a task."""


class TimeoutError(CeleriacError):
    """The operation timed out (Celery's `celery.exceptions.TimeoutError`)."""


class MaxRetriesExceededError(TaskError):
    """The task was retried as often as `max_retries` allows.

    `task_args` and `task_kwargs` are the arguments of the task, as in Celery.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args = kwargs.pop("task_args", [])
        self.task_kwargs: Mapping[str, Any] = kwargs.pop("task_kwargs", {})
        super().__init__(*args)


class TaskRevokedError(TaskError):
    """The task was revoked, or had expired; it did not run."""


class WorkerLostError(TaskError):
    """The process that ran the task died."""

    def __init__(self, *args: Any, exitcode: int | None = None) -> None:
        self.exitcode = exitcode
        super().__init__(*args)


class SoftTimeLimitExceeded(Exception):
    """The task ran for longer than `soft_time_limit` seconds, or is terminated by SIGUSR1: it may tidy up."""

    #: It was revoked: if the task does not catch this, that is what its end says.
    terminated = False

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args}"


class TimeLimitExceeded(Exception):
    """The task ran for longer than `time_limit` seconds, and its process was ended."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args}"


class Terminated(Exception):
    """The process that ran the task was ended because the task was revoked."""


class ChordError(TaskError):
    """A task of the chord's header failed, or the chord could not be joined."""


class ChordsNotCounted(CeleriacError, NotImplementedError):
    """The engine of these URLs cannot count the members of a chord: nothing was sent. The text says what to do."""


class IncompleteStream(TaskError):
    """The end of a stream was found before its data was whole."""


# -- raised by tasks to say what becomes of them ---------------------------------------------------------------------


class TaskPredicate(CeleriacError):
    """Base of what a task raises to steer its own settlement."""


class Retry(TaskPredicate):
    """The task is to be tried again (`Task.retry` raises it).

    `message` says why, `exc` is the error behind it (or its repr), `when` the delay in seconds or the instant.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        self.message = message
        self.exc: BaseException | None = None
        self.excs: str | None = None
        if isinstance(exc, str):
            self.excs = exc
        elif exc is not None:
            self.exc, self.excs = exc, _bounded_repr(exc)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(self, exc, when)

    def humanize(self) -> str:
        """`in 3s`, or `at 2030-01-01 00:00:00+00:00`."""
        if isinstance(self.when, (int, float)):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.message, self.exc if self.exc is not None else self.excs, self.when)


class Ignore(TaskPredicate):
    """The task asks that no state be stored for this run."""


class Reject(TaskPredicate):
    """The task refuses its message; with `requeue` it goes back to the queue, else it is set aside."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


def _bounded_repr(value: object, most: int = 1024) -> str:
    """A repr that cannot raise and cannot flood a log."""
    try:
        text = repr(value)
    except Exception as error:  # a user's __repr__ may do anything
        text = f"<unrepresentable {type(value).__name__}: {type(error).__name__}>"
    return text if len(text) <= most else text[:most] + "..."
