"""One call, or many, from arguments and options to published messages and their results.

The middle of `Task.apply_async`, `Task.send_many` and `app.send_task`; it knows no broker and no bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import OperationalError, QueueFull
from ..foundation.identifiers import uuid4_text
from ..signals import after_task_publish, before_task_publish, task_sent
from ..wire import serializers
from . import options as call_options
from .current import worker_run
from .result import AsyncResult, denied_join_result
from .template import Encoded, Template

if TYPE_CHECKING:
    from .app import Celery
    from .publisher import Publisher
    from .task import Task

#: Task attributes that are options of each of its calls.
_DEFAULTS = (
    "queue",
    "routing_key",
    "exchange",
    "priority",
    "expires",
    "serializer",
    "delivery_mode",
    "compression",
    "time_limit",
    "soft_time_limit",
)

#: Grows in a forked child: templates carry the process in their `origin`.
_generation = 0


def call(task: Task[..., Any], args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[Any]:
    """Send one call of a task. The arguments have been checked."""
    app = task.app
    if app.conf.task_always_eager:
        return _run_here(task, args, kwargs, options)
    publisher = app.publisher
    if not options and not task._shadows:
        template = _plain(task, publisher)
        return _send(app, publisher, template, args, kwargs, uuid4_text(), AsyncResult, task._backend)
    merged = call_options.read(_with_shadow(task, args, kwargs, options), defaults(task))
    return _send_with(app, publisher, task.name, args, kwargs, merged, task._backend)


def send_task(
    app: Celery, name: str, args: Any = None, kwargs: Any = None, options: Mapping[str, Any] | None = None
) -> AsyncResult[Any]:
    """Send a call by name. Where the task is registered here, its options are the defaults, as in Celery."""
    task = app.tasks.get(name) if app.finalized else None
    usual = {k: v for k, v in defaults(task).items() if v is not None} if task is not None else None
    return _send_with(app, app.publisher, name, args, kwargs, call_options.read(options or {}, usual), None)


def send_many(task: Task[..., Any], calls: Iterable[Any], options: dict[str, Any]) -> list[AsyncResult[Any]]:
    """Send many calls of one task under the same options (see `Task.send_many`)."""
    app = task.app
    if app.conf.task_always_eager:
        return [_run_here(task, args, kwargs, dict(options)) for args, kwargs in list(_checked(task, calls))]
    if options.get("task_id") is not None:
        raise TypeError("send_many() takes no task_id: every message needs its own")
    publisher = app.publisher
    merged = call_options.read(_with_shadow(task, (), {}, options), defaults(task))
    template = publisher.template(task.name, merged)
    if before_task_publish.receivers or after_task_publish.receivers or task_sent.receivers:
        calls = [(uuid4_text(), args, kwargs) for args, kwargs in _checked(task, calls)]
        publisher.announce(template, calls, publisher.inherited(template), **_delivery(merged))
    else:
        encode = template.encode
        calls = [(uuid4_text(), encode(args, kwargs)) for args, kwargs in _checked(task, calls)]
        _publish_all(publisher, template, calls, merged)
    backend, ignored = task._backend, bool(template.ignore_result)
    results: list[AsyncResult[Any]] = []
    for task_id, *_ in calls:
        result: AsyncResult[Any] = AsyncResult(task_id, backend, None, app)
        if ignored:
            result._ignored = True
        results.append(result)
    run = worker_run() if merged.add_to_parent else None
    if run is not None:
        for result in results:
            run.task.add_trail(result)
    return results


def defaults(task: Task[..., Any]) -> Mapping[str, Any]:
    """The options that every call of the task starts from."""
    known = task._defaults
    if known is None:
        known = {name: getattr(task, name, None) for name in _DEFAULTS}
        type(task)._defaults = known
    # Read at each call, as in Celery: tests and tasks switch it.
    return {**known, "ignore_result": task.ignore_result}


# -- one -------------------------------------------------------------------------------------------------------------


def _plain(task: Task[..., Any], publisher: Publisher) -> Template:
    """The template of a call without options: kept, unless it depends on the present."""
    template = task._plain
    if template is None or template.ignore_result is not task.ignore_result or template.generation != _generation:
        template = publisher.template(task.name, call_options.read({}, defaults(task)))
        template.generation = _generation
        if not template.timed:
            type(task)._plain = template
    return template


def _send_with(
    app: Celery,
    publisher: Publisher,
    name: str,
    args: Any,
    kwargs: Any,
    options: call_options.CallOptions,
    backend: Any,
) -> AsyncResult[Any]:
    template = publisher.template(name, options)
    return _send(
        app,
        publisher,
        template,
        args,
        kwargs,
        options.task_id or uuid4_text(),
        options.result_cls or AsyncResult,
        backend,
        options,
    )


def _send(
    app: Celery,
    publisher: Publisher,
    template: Template,
    args: Any,
    kwargs: Any,
    task_id: str,
    result_cls: type[AsyncResult[Any]],
    backend: Any,
    options: call_options.CallOptions | None = None,
) -> AsyncResult[Any]:
    run = worker_run()
    inherited = () if run is None else publisher.inherited(template)
    said = {} if options is None else _delivery(options)
    if before_task_publish.receivers or after_task_publish.receivers or task_sent.receivers:
        publisher.announce(template, [(task_id, args, kwargs)], inherited, **said)
    else:
        publisher.publish((template.outgoing(task_id, args, kwargs, *inherited),), **said)
    result = result_cls(task_id, backend=backend, app=app)
    result.ignored = bool(template.ignore_result)
    if run is not None and (options is None or options.add_to_parent):
        run.task.add_trail(result)
    return result


def _delivery(options: call_options.CallOptions) -> dict[str, Any]:
    return {"timeout": options.timeout, "retry": options.retry, "retry_policy": options.retry_policy}


def _with_shadow(task: Task[..., Any], args: Any, kwargs: Any, options: dict[str, Any]) -> dict[str, Any]:
    if task._shadows and not options.get("shadow"):
        return {**options, "shadow": task.shadow_name(args, kwargs, options)}
    return options


def _run_here(task: Task[..., Any], args: Any, kwargs: Any, options: dict[str, Any]) -> AsyncResult[Any]:
    """`task_always_eager`: the task runs now, with its arguments written and read as if they had travelled."""
    merged = call_options.read(options, defaults(task))
    name = merged.serializer or task.app.conf.task_serializer
    data, content_type, encoding = serializers.encode([list(args or ()), dict(kwargs or {})], name)
    args, kwargs = serializers.decode(data, content_type, encoding, frozenset({content_type}))
    with denied_join_result():
        return task.apply(args, kwargs, **options)


# -- many ------------------------------------------------------------------------------------------------------------


def _publish_all(
    publisher: Publisher, template: Template, calls: list[tuple[str, Encoded]], options: call_options.CallOptions
) -> None:
    """In batches of what the broker takes at once. A failure says how many had been sent before."""
    inherited = publisher.inherited(template)
    make, size = template.message, publisher.largest_batch
    for start in range(0, len(calls), size):
        batch = [make(task_id, encoded, *inherited) for task_id, encoded in calls[start : start + size]]
        try:
            publisher.publish(batch, **_delivery(options))
        except (OperationalError, QueueFull) as error:
            error.add_note(f"{start} of {len(calls)} messages had been sent before")
            raise


def _checked(task: Task[..., Any], calls: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """(args, kwargs) of each call, checked against the signature. Raises: TypeError, with a note which call it is."""
    check = task.__header__ if task.typing else None
    for number, item in enumerate(calls):
        args, kwargs = _parted(item, number)
        if check is not None:
            try:
                check(*args, **kwargs)
            except TypeError as error:
                error.add_note(f"in call {number} of send_many(); none has been sent")
                raise
        yield args, kwargs


def _parted(item: Any, number: int) -> tuple[Any, Any]:
    if type(item) is not tuple and not isinstance(item, (tuple, list)):
        raise TypeError(f"send_many() takes (args, kwargs) pairs or argument tuples; call {number} is {item!r}")
    size = len(item)
    if size == 2 and isinstance(item[0], (tuple, list)) and isinstance(item[1], Mapping):
        return item[0], item[1]
    if size == 1 and isinstance(item[0], (tuple, list)):
        return item[0], {}
    return item, {}


def _after_fork() -> None:
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
