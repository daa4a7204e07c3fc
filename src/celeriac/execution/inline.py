"""Running a task in the calling process (`Task.apply`, `task_always_eager`): the same run and judgement as in a worker,
with retries run at once. It acknowledges nothing, for there is no delivery; results are stored only where asked for."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..client import current, reporting
from ..client.canvas.signature import Signature
from ..client.eager_result import EagerResult
from ..client.request import Context
from ..states import FAILURE, IGNORED, REJECTED, SUCCESS
from .outcome import Failure, Outcome, Rejected, Retried, Success
from .records import Records
from .settling import Settling
from .tracer import Tracer

if TYPE_CHECKING:
    from ..client.app import Celery
    from ..client.task import Task

#: How often a task that asks for another try may be run in one `apply`: `max_retries=None` would never end.
_MOST_TRIES = 10_000


def run_inline(task: Task[..., Any], request: Context, throw: bool) -> EagerResult[Any]:
    """Run `task` here. With `throw` its exception is raised, else it is in the result."""
    app = task.app
    records = Records(app, lambda: datetime.now(UTC))
    tracer = Tracer(Settling(app, records))
    result: Outcome = Rejected("it asked for another try too often", False)
    for _ in range(_MOST_TRIES):
        result = _once(tracer, task, request)
        if not isinstance(result, Retried):
            break
        request = _next_try(request, result.retry.sig)
    if isinstance(result, Success):
        _store(task, request, records, result)
        _call(app, request, result.value)
        return EagerResult(request.id or "", result.value, SUCCESS, name=task.name)
    if isinstance(result, Failure):
        _store(task, request, records, result)
        _call_errbacks(app, request)
        if throw:
            raise result.error
        return EagerResult(request.id or "", result.error, FAILURE, result.traceback, name=task.name)
    state = REJECTED if isinstance(result, Rejected) else IGNORED
    return EagerResult(request.id or "", None, state, name=task.name)


def _once(tracer: Tracer, task: Task[..., Any], request: Context) -> Outcome:
    token = current.push(task, request)
    try:
        began = time.monotonic()
        result = tracer.run(task, request, request.args or (), request.kwargs or {})
        if request._report is not None:
            reporting.ended(request)
        tracer.leave(task, request, result, time.monotonic() - began)
        return result
    finally:
        current.pop(token)


def _next_try(request: Context, again: Signature) -> Context:
    fields = {**vars(request), "args": again.args, "kwargs": again.kwargs, "retries": request.retries + 1}
    return Context(fields)


def _store(task: Task[..., Any], request: Context, records: Records, result: Success | Failure) -> None:
    if not task.store_eager_result or request.ignores_result(task.ignore_result):
        return
    if isinstance(result, Success):
        record = records.success(request, result.value, [])
    else:
        record = records.failure(request, result.error, result.traceback)
    if record is not None:
        task.backend.put_many([record])


def _call(app: Celery, request: Context, value: Any) -> None:
    for spec in request.callbacks or ():
        Signature.from_dict(spec, app=app).apply_async((value,))
    chain = list(request.chain or ())
    if chain:
        Signature.from_dict(chain.pop(), app=app).apply_async((value,), chain=chain or None)


def _call_errbacks(app: Celery, request: Context) -> None:
    for spec in request.errbacks or ():
        Signature.from_dict(spec, app=app).apply_async((request.id,))
