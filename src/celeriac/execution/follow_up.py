"""Follow-ups: the messages that an outcome causes - callbacks and the next link of a chain, or errbacks, each of which
may be a canvas. They are made here and published by the settlement. Their ids are derived from the task's, so that a
run repeated after a crash causes the same messages again and not others."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Container, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ..brokers.base import Outgoing
from ..client import calling
from ..client import options as call_options
from ..client.canvas.identities import derived_from
from ..client.canvas.signature import Signature
from ..client.request import Context

if TYPE_CHECKING:
    from ..client.app import Celery

_NAMESPACE = uuid.UUID("5e1e71ac-0000-4000-8000-000000000001")

#: (message, its task's id; None where that is told by the trail of the run)
Caused = tuple[Outgoing, str | None]


def on_success(app: Celery, request: Context, value: Any) -> list[Caused]:
    """Callbacks with the value, and the next link of the chain with the rest of it. Raises: EncodeError."""
    caused: list[Caused] = []
    for n, spec in enumerate(request.callbacks or ()):
        caused += _caused(app, request, spec, (value,), f"callback:{n}")
    chain = list(request.chain or ())
    if chain:
        caused += _caused(app, request, chain.pop(), (value,), "chain", chain=chain)
    return caused


def _caused(
    app: Celery, request: Context, spec: Mapping[str, Any], args: tuple[Any, ...], role: str, **options: Any
) -> list[Caused]:
    if not spec.get("subtask_type"):
        return [_call(app, request, spec, args, role, **options)]
    if (request.delivery_info or {}).get("priority") is not None and app.conf.task_inherit_parent_priority:
        options["priority"] = request.delivery_info["priority"]  # type: ignore[index]
    return [(message, None) for message in sent(app, request, spec, args, role, **options)]


def sent(
    app: Celery, request: Context, spec: Mapping[str, Any], args: tuple[Any, ...], role: str, **options: Any
) -> list[Outgoing]:
    """The messages that sending a canvas comes to, none of them sent."""
    signature = Signature.from_dict(deepcopy(dict(spec)), app=app)
    with derived_from(f"{request.id}:{role}"), app.publisher.gathering(hold=True) as gathered:
        signature.apply_async(args, root_id=request.root_id or request.id, parent_id=request.id, **options)
    return gathered.messages


def on_failure(
    app: Celery, request: Context, error: BaseException, traceback: str, called: Container[str] = ()
) -> tuple[list[Outgoing], list[Callable[[], Any]]]:
    """Errbacks: messages for those that take the task's id, calls for those that take (request, exc, traceback), which
    Celery too makes where the task failed, since an exception does not travel. `called` names tasks of the second kind
    that are not here: they are left out."""
    messages: list[Outgoing] = []
    calls: list[Callable[[], Any]] = []
    for n, spec in enumerate(request.errbacks or ()):
        signature = Signature.from_dict(spec, app=app)
        task = app.tasks.get(signature.task)
        if task is None and signature.task in called and not signature.args:
            continue
        if task is not None and takes_three(task) and not signature.args:
            calls.append(_new_style(task, signature, request, error, traceback))
        else:
            messages += [message for message, _ in _caused(app, request, spec, (request.id,), f"errback:{n}")]
    return messages, calls


def _call(
    app: Celery, request: Context, spec: Mapping[str, Any], args: tuple[Any, ...], role: str, **options: Any
) -> Caused:
    signature = Signature.from_dict(spec, app=app)
    task_id = signature.options.get("task_id") or str(uuid.uuid5(_NAMESPACE, f"{request.id}:{role}"))
    own_args, kwargs, own = signature._merge(args)
    # A new dict: the request's own callbacks stay as they came, for hooks that look at them.
    merged = {**own, **options, "task_id": task_id, "root_id": request.root_id or request.id, "parent_id": request.id}
    task = app.tasks.get(signature.task)
    said = call_options.read(merged, calling.defaults(task) if task is not None else None)
    return app.publisher.prepare(signature.task, own_args, kwargs, said), task_id


def takes_three(task: Any) -> bool:
    """Whether an errback's body takes more than the id of the failed task."""
    try:
        parameters = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _new_style(
    task: Any, signature: Signature, request: Context, error: BaseException, traceback: str
) -> Callable[[], Any]:
    return lambda: task(request, error, traceback, **(signature.kwargs or {}))
