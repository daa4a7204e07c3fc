"""The tracer: runs the user's code and says how it ended. A pipeline of small steps over one value:
enter, run, judge, settle, leave. It neither acknowledges, nor stores, nor publishes."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, NoReturn

from ..brokers.base import Settlement
from ..client import current, reporting
from ..client.lazy import LazyTask
from ..client.proxy import Proxy
from ..client.request import Context
from ..client.task import Task
from ..errors import CeleriacError, Ignore, Reject, Retry, SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from ..signals import task_failure, task_postrun, task_prerun, task_retry, task_revoked, task_success
from ..states import FAILURE, SUCCESS
from ..wire.representation import represent
from . import outcome as outcomes
from . import telling
from .admission import Admitted
from .arming import Arm, AsyncArm, Call, calls_bodies
from .coroutines import PLAIN, awaited
from .outcome import ExceptionInfo, Failure, Ignored, Outcome, Rejected, Retried, Revoked, Success
from .settling import Settling

if TYPE_CHECKING:
    from ..backends.base import Backend

logger = logging.getLogger("celery.app.trace")

#: Of what a body may call directly: where another task's body is on the stack, it is the user's code again.
for _direct in (Task.__call__, Proxy.__call__, LazyTask.__call__):
    calls_bodies(_direct)

_HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")


class Tracer:
    """`settling` turns outcomes into settlements; `backend` stores STARTED at once where a task asks for it."""

    def __init__(
        self, settling: Settling, backend: Backend | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settling = settling
        self._backend = backend
        self._clock = clock
        self._hooked: dict[type, frozenset[str]] = {}
        self._pid = os.getpid()

    def trace(self, work: Admitted, arm: Arm | None = None) -> Settlement | None:
        """Run it, armed if something may have to interrupt it. Returns what becomes of its delivery; None if nothing is
        left to do. Raises nothing."""
        task, request = work.task, work.request
        token = current.push(task, request)
        try:
            began = self._clock()
            call = None if arm is None else partial(arm.call, work.delivery.receipt)
            result = self.run(task, request, work.args, work.kwargs, call)
            return self._end(work, result, began)
        finally:
            current.pop(token)

    async def trace_coroutine(self, work: Admitted, arm: AsyncArm) -> Settlement | None:
        """As `trace`, on the event loop that the caller runs on: for tasks whose body is a coroutine function."""
        task, request = work.task, work.request
        token = current.push(task, request)
        try:
            began = self._clock()
            try:
                self._enter(task, request, work.args, work.kwargs)
                value = await arm(_body(task)(*work.args, **work.kwargs))
                result: Outcome = Success(value if type(value) in PLAIN else awaited(value))
            except BaseException as error:  # a cancellation too, which nobody but the body itself has asked for
                result = _judged(task, error)
            return self._end(work, result, began)
        finally:
            current.pop(token)

    @calls_bodies
    def run(self, task: Task[..., Any], request: Context, args: Any, kwargs: Any, call: Call | None = None) -> Outcome:
        """The body, and what its end means; `call` calls it armed."""
        try:
            if task.track_started or self._hooks(task) or task_prerun.receivers:
                self._enter(task, request, args, kwargs)
            body = _body(task)
            value = body(*args, **kwargs) if call is None else call(body, args, kwargs)
            return Success(value if type(value) in PLAIN else awaited(value, call))
        except BaseException as error:  # SystemExit and its like too: nothing a task raises may end its runner
            return _judged(task, error)

    def _enter(self, task: Task[..., Any], request: Context, args: Any, kwargs: Any) -> None:
        if task_prerun.receivers:
            telling.prerun(task, request, args, kwargs)
        if task.track_started:
            self._started(task, request)
        if "before_start" in self._hooks(task):
            task.before_start(request.id or "", args, kwargs)

    def _end(self, work: Admitted, result: Outcome, began: float) -> Settlement | None:
        """Settle and leave."""
        task, request = work.task, work.request
        if os.getpid() != self._pid:
            end_child(result)
        if request._report is not None:
            reporting.ended(request)
        settlement = self._settling.settle(work, result)
        if settlement.outcome is not result:  # the value could not be written, say
            result = settlement.outcome
        try:
            self.leave(task, request, result, self._clock() - began)
        except Exception:  # a value that cannot be shown, mostly: the verdict stands
            logger.exception("Task %s[%s]: its outcome could not be logged", task.name, request.id)
        for call in settlement.calls:
            _guarded(call, task, request, "an errback")
        return settlement.settlement

    def leave(self, task: Task[..., Any], request: Context, result: Outcome, seconds: float) -> None:
        """Hooks, signals and the log line."""
        hooks = self._hooks(task)
        if hooks:
            _call_hooks(task, request, result, hooks)
        if isinstance(result, Revoked) and task_revoked.receivers:
            telling.revoked(task, request, terminated=True, signum=result.signal)
        if task_postrun.receivers or task_success.receivers or task_failure.receivers or task_retry.receivers:
            telling.verdict(task, request, result, seconds)
            try:
                log(task, request, result, seconds)
            finally:
                telling.postrun(task, request, result)
        else:
            log(task, request, result, seconds)

    def mourn(
        self, task: Task[..., Any], request: Context, result: Outcome, calls: Sequence[Callable[[], Any]] = ()
    ) -> None:
        """Hooks of a run that ended elsewhere, with its process; its signals and the log are the supervisor's."""
        hooks = self._hooks(task)
        if hooks:
            _call_hooks(task, request, result, hooks)
        for call in calls:
            _guarded(call, task, request, "an errback")

    def _started(self, task: Task[..., Any], request: Context) -> None:
        record = self._settling.records.started(request, os.getpid(), request.hostname or "")
        if record is None or self._backend is None or request.ignores_result(task.ignore_result):
            return
        try:
            self._backend.put_many([record])
        except CeleriacError as error:  # a state on the way is not worth a failure
            logger.warning("Task %s[%s]: STARTED could not be stored: %s", task.name, request.id, error)

    def _hooks(self, task: Task[..., Any]) -> frozenset[str]:
        """The hooks that the task's class overrides: most have none, and then none is called."""
        kind = type(task)
        found = self._hooked.get(kind)
        if found is None:
            found = frozenset(name for name in _HOOKS if getattr(kind, name) is not getattr(Task, name))
            self._hooked[kind] = found
        return found


def end_child(result: Outcome) -> NoReturn:
    """A process that the body forked has come out of it. It ends here, as a script would: were it to go on, it would
    be a second runner on the first one's connections."""
    code: object = 0
    if isinstance(result, Failure):
        code = result.error.code if isinstance(result.error, SystemExit) else result.traceback
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF if isinstance(code, int) else int(code is not None))


def _body(task: Task[..., Any]) -> Callable[..., Any]:
    """`run`, or `__call__` where the class has its own (the request is pushed already, so ours would do so twice)."""
    return task.run if type(task).__call__ is Task.__call__ else task


def _judged(task: Task[..., Any], error: BaseException) -> Outcome:
    if isinstance(error, MemoryError):
        clear_frames(error.__traceback__)  # what the body had in its hands: the rest of us needs some of that
    try:
        return judge(task, error)
    except Exception as odd:  # `throws` of no use, an exception that cannot be shown: a runner that died of
        return Failure(odd, f"{odd!r}, while an exception was judged")  # it would run the task again for ever


def judge(task: Task[..., Any], error: BaseException) -> Outcome:
    """What an exception out of a body means; automatic retries are decided here."""
    if isinstance(error, _STRUCK):
        if isinstance(error, Terminated) or (isinstance(error, SoftTimeLimitExceeded) and error.terminated):
            return Revoked(_number(error))
        if isinstance(error, TimeLimitExceeded):
            return Failure(error, outcomes.traceback_text(error, __file__))
    if isinstance(error, Exception) and not isinstance(error, (Retry, Ignore, Reject)) and task.autoretry_for:
        trace = error.__traceback__
        try:
            task.autoretry(error)
        except BaseException as decided:
            # Raised again it carries our frames as well: the user's traceback ends where the body did.
            error = decided.with_traceback(trace) if decided is error else decided
    if isinstance(error, Retry):
        return Retried(error, outcomes.traceback_text(error, __file__))
    if isinstance(error, Ignore):
        return Ignored()
    if isinstance(error, Reject):
        return Rejected(error.reason, error.requeue)
    text = outcomes.traceback_text(error, __file__)
    throws: Any = task.throws or ()
    return Failure(error, text, isinstance(error, throws if isinstance(throws, type) else tuple(throws)))


#: What struck a body, and was not raised by it.
_STRUCK = (Terminated, SoftTimeLimitExceeded, TimeLimitExceeded)


def _number(error: BaseException) -> int:
    """Of the signal, where it is told."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def _call_hooks(task: Task[..., Any], request: Context, result: Outcome, hooks: frozenset[str]) -> None:
    task_id, args, kwargs = request.id or "", request.args, request.kwargs
    einfo: ExceptionInfo | None = None
    after: tuple[str, Any] | None = None
    calls: list[tuple[str, Callable[[], None]]] = []
    if isinstance(result, Success):
        value = result.value
        calls.append(("on_success", lambda: task.on_success(value, task_id, args, kwargs)))
        after = (SUCCESS, value)
    elif isinstance(result, Failure):
        error = result.error
        einfo = ExceptionInfo(error, result.traceback)
        calls.append(("on_failure", lambda: task.on_failure(error, task_id, args, kwargs, einfo)))
        after = (FAILURE, error)
    elif isinstance(result, Retried):
        reason = result.retry.exc or result.retry
        einfo = ExceptionInfo(reason, result.traceback)
        calls.append(("on_retry", lambda: task.on_retry(reason, task_id, args, kwargs, einfo)))  # and no after_return
    if after is not None:
        status, retval = after
        calls.append(("after_return", lambda: task.after_return(status, retval, task_id, args, kwargs, einfo)))
    for name, call in calls:
        if name in hooks:
            _guarded(call, task, request, name)


def _guarded(call: Callable[[], Any], task: Task[..., Any], request: Context, what: str) -> None:
    """Hooks come after the verdict: what they raise is told, and changes nothing."""
    try:
        call()
    except BaseException:
        logger.exception("Task %s[%s]: %s raised", task.name, request.id, what)


def log(task: Task[..., Any], request: Context, result: Outcome, seconds: float) -> None:
    """Celery's line for the outcome, made only where the level is on."""
    name, task_id = request.shadow or task.name, request.id
    if isinstance(result, Success):
        if logger.isEnabledFor(logging.INFO):
            shown = represent(result.value, task.resultrepr_maxsize)
            logger.info("Task %s[%s] succeeded in %ss: %s", name, task_id, seconds, shown)
    elif isinstance(result, Failure):
        if result.expected:
            logger.info("Task %s[%s] raised expected: %r", name, task_id, result.error)
        else:
            _log_failure((name, task_id, _repr(result.error)), result)
    elif isinstance(result, Retried):
        logger.info("Task %s[%s] retry: %s", name, task_id, result.retry)
    elif isinstance(result, Rejected):
        logger.warning("Task %s[%s] rejected: %s", name, task_id, result.reason)
    elif isinstance(result, Revoked):
        logger.info("Task %s[%s] terminated: it was revoked while it ran", name, task_id)
    else:
        logger.info("Task %s[%s] ignored", name, task_id)


def _log_failure(arguments: tuple[object, ...], result: Failure) -> None:
    """With the exception itself for whoever listens to loggers (JSON lines, Sentry); its text is the users' part."""
    if not logger.isEnabledFor(logging.ERROR):
        return
    error = result.error
    text = "Task %s[%s] raised unexpected: %s"
    exc_info = (type(error), error, error.__traceback__)
    record = logger.makeRecord(logger.name, logging.ERROR, __file__, 0, text, arguments, exc_info, "log")
    record.exc_text = (result.traceback or "").rstrip("\n") or None
    logger.handle(record)


def _repr(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:
        return f"<{type(error).__name__} without a repr>"
