"""What `Task.retry` and automatic retries decide. The outcome is an exception to raise; nothing is sent from here.

In a worker the new message is put by in the request (`Context.follow_ups`) for the settlement that also acknowledges
this delivery, so that a crash leaves either the old message or the new one, never neither and never both.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import Ignore, MaxRetriesExceededError, Reject, Retry
from ..foundation.backoff import exponential
from . import options as call_options
from .canvas.signature import Signature

if TYPE_CHECKING:
    from .request import Context
    from .task import Task


def retry(
    task: Task[..., Any],
    args: Any,
    kwargs: Any,
    exc: BaseException | None,
    throw: bool,
    eta: Any,
    countdown: float | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """`Task.retry`, which documents it."""
    request = task.request
    retries = (request.retries or 0) + 1
    if max_retries is not None:
        request._max_retries_override = max_retries
    if request.called_directly:
        _raise_from_current(exc or Retry("Task can be retried", None))
    if not eta and countdown is None:
        countdown = _usual_wait(task, request)
    args, kwargs = _kept_arguments(task, request, args, kwargs)
    again = signature_from_request(
        task, request, args, kwargs, None, {"countdown": countdown, "eta": eta, "retries": retries, **options}
    )
    most = task.max_retries if max_retries is None else max_retries
    if most is not None and retries > most:
        _raise_exceeded(task, request, exc, again)
    outcome = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=again)
    if not request.is_eager:
        request.follow_ups.append(_message(task, again))
    if throw:
        raise outcome
    return outcome


def autoretry(task: Task[..., Any], exc: BaseException) -> NoReturn:
    """`Task.autoretry`, which documents it. Call it while `exc` is being handled, with the run still current."""
    # What a task raises to steer its own settlement is obeyed. (Celery would retry a Reject that `autoretry_for`
    # happens to include.)
    if isinstance(exc, (Ignore, Reject, Retry)) or not _is_retried(task, exc):
        raise exc
    request = task.request
    how = dict(task.retry_kwargs or {})
    if task.retry_backoff:
        how["countdown"] = backoff(task, request)
    if request._max_retries_override is not None:
        how["max_retries"] = request._max_retries_override
    raise task.retry(exc=exc, **how)


def backoff(task: Task[..., Any], request: Context) -> float:
    """Seconds that `retry_backoff` has the next try wait."""
    factor = int(max(1.0, float(task.retry_backoff)))
    return exponential(factor, request.retries or 0, int(task.retry_backoff_max), bool(task.retry_jitter))


def signature_from_request(
    task: Task[..., Any],
    request: Context,
    args: Any,
    kwargs: Any,
    queue: str | None,
    extra: Mapping[str, Any],
) -> Signature:
    """The call that `request` is, again: everything it carried, but for what `extra` says otherwise."""
    options = {**request.as_execution_options(), "ignore_result": request.ignores_result(task.ignore_result)}
    came_by = request.delivery_info or {}
    if came_by.get("priority") is not None:
        options["priority"] = came_by["priority"]
    options.update(extra)
    if queue or options.get("queue"):
        options["queue"] = queue or options["queue"]
    elif came_by.get("routing_key"):
        # Celery's queues hang on a direct exchange, or on none: the routing key is the queue.
        options["queue"] = came_by["routing_key"]
    return Signature(
        task,
        request.args if args is None else args,
        request.kwargs if kwargs is None else kwargs,
        options,
        app=task.app,
    )


# -- parts -----------------------------------------------------------------------------------------------------------


def _is_retried(task: Task[..., Any], exc: BaseException) -> bool:
    return not isinstance(exc, tuple(task.dont_autoretry_for or ())) and isinstance(
        exc, tuple(task.autoretry_for or ())
    )


def _usual_wait(task: Task[..., Any], request: Context) -> float:
    return backoff(task, request) if task.retry_backoff else task.default_retry_delay


def _message(task: Task[..., Any], again: Signature) -> Any:
    """The follow-up. One that cannot be made sets the delivery aside, as a failed publish does in Celery."""
    try:
        merged = call_options.read(again.options, {"serializer": task.serializer})
        return task.app.publisher.prepare(again.task, again.args, again.kwargs, merged, inherit=False)
    except Exception as error:
        raise Reject(error, requeue=False) from error


def _raise_exceeded(task: Task[..., Any], request: Context, exc: BaseException | None, again: Signature) -> NoReturn:
    if exc is not None:
        _raise_from_current(exc)
    kind: Any = task.MaxRetriesExceededError or MaxRetriesExceededError
    raise kind(
        f"Can't retry {task.name}[{request.id}] args:{again.args} kwargs:{again.kwargs}",
        task_args=again.args,
        task_kwargs=again.kwargs,
    )


def _raise_from_current(exc: BaseException) -> NoReturn:
    """Raise `exc`; if another exception is being handled it becomes the cause, if that is `exc` itself it goes on."""
    handled = sys.exc_info()[1]
    if handled is exc or handled is None:
        raise exc
    raise exc from handled


def _kept_arguments(task: Task[..., Any], request: Context, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Where only args or only kwargs are given, what is inherited of the others must not name a parameter twice."""
    one_sided = (args is not None and kwargs is None and request.kwargs) or (
        kwargs is not None and args is None and request.args
    )
    if not one_sided:
        return args, kwargs
    try:
        parameters = inspect.signature(task.run)
    except (TypeError, ValueError):
        return args, kwargs
    if args is not None:
        return args, _without_positional(parameters, args, request.kwargs)
    return _with_replaced(parameters, request.args, kwargs)


_NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _without_positional(parameters: inspect.Signature, args: Any, inherited: Mapping[str, Any]) -> dict[str, Any]:
    positional = [p for p in parameters.parameters.values() if p.kind in (inspect.Parameter.POSITIONAL_ONLY, _NAMED)]
    given = {p.name for p in positional[: len(args)] if p.kind == _NAMED}
    return {name: value for name, value in inherited.items() if name not in given}


def _with_replaced(parameters: inspect.Signature, inherited: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    try:
        bound = parameters.bind_partial(*inherited)
    except TypeError:
        return None, kwargs
    rest = dict(kwargs)
    for name in list(rest):
        if name in bound.arguments and parameters.parameters[name].kind == _NAMED:
            bound.arguments[name] = rest.pop(name)
    return bound.args, {**bound.kwargs, **rest}
