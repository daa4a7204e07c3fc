"""The tasks that every app has, under Celery's names: what canvases are made of on the wire.

`celery.chain`, `celery.group` and `celery.chord` are names in signatures; messages that call them come from old
producers only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backends.base import Groups
from ..errors import ChordError, OperationalError, Reject
from ..states import SUCCESS
from . import current
from .canvas import counting, kinds
from .canvas.identities import derived_from
from .canvas.signature import as_list, maybe_signature, signature
from .definition import from_function
from .joining import allow_join_result
from .result import result_from_tuple
from .result_set import GroupResult

if TYPE_CHECKING:
    from .app import Celery


def register(app: Celery) -> None:
    """Add them to an app that is being finalized; tasks of these names that it has already stay."""
    for name, (body, options) in _TASKS.items():
        if name not in app._tasks:
            from_function(app, body, name=name, **options)


def accumulate(*args: Any, index: int | None = None, **kwargs: Any) -> Any:
    """Its arguments, or the one at `index`: the last call of what replaces a task by a group."""
    return args if index is None else args[index]


def xmap(task: Any, it: Any) -> list[Any]:
    """One result an item."""
    call = _task(task)
    return [call(item) for item in it]


def xstarmap(task: Any, it: Any) -> list[Any]:
    """One result an item, the item being the arguments."""
    call = _task(task)
    return [call(*item) for item in it]


def _task(task: Any) -> Any:
    return signature(task, app=_app()).type


def _app() -> Any:
    task = current.get_current_task()
    return None if task is None else task.app


def chunks(task: Any, it: Any, n: int) -> Any:
    """Sends the group of which it is made."""
    return kinds.load("chunks").apply_chunks(task, it, n, app=_app())


def group(self: Any, tasks: Any, result: Any, group_id: str, partial_args: Any, add_to_parent: bool = True) -> Any:
    """Sends the members."""
    made = result_from_tuple(result, self.app)
    with self.app.publisher.gathering():
        for task in tasks:
            call = maybe_signature(task, app=self.app).clone(partial_args)
            call.apply_async(group_id=group_id, add_to_parent=False)
    if add_to_parent:
        self.add_trail(made)
    return made


def chain(*args: Any, **kwargs: Any) -> Any:
    """Never called: a chain is its steps."""
    raise NotImplementedError("chain is not a real task")


def chord(self: Any, header: Any, body: Any, partial_args: Any = (), **kwargs: Any) -> Any:
    """Sends the chord."""
    header = kinds.load("group")([maybe_signature(task, app=self.app) for task in header], app=self.app)
    body = maybe_signature(body, app=self.app)
    return kinds.load("chord")(header, body, app=self.app).run(header, body, partial_args, self.app, **kwargs)


def backend_cleanup() -> None:
    """Results expire by themselves here: nothing is left to be done."""


def unlock_chord(
    self: Any, group_id: str, callback: Any, interval: float | None = None, max_retries: int | None = None,
    result: Any = None, **kwargs: Any,
) -> None:  # fmt: skip
    """Of a producer whose backend cannot count: calls the body once all members have ended, looking again and again."""
    app = self.app
    group = app.GroupResult(group_id, [result_from_tuple(member, app) for member in result or ()])
    if not group.ready():
        raise self.retry(countdown=self.default_retry_delay if interval is None else interval, max_retries=max_retries)
    with allow_join_result():
        values = group.get(timeout=app.conf.result_chord_join_timeout, propagate=False)
    bad = next((member for member in group._leaves() if not member.successful()), None)
    error = None if bad is None else ChordError(f"Dependency {bad.id} raised {bad.result!r}")
    _call_body(self, group_id, maybe_signature(callback, app=app), values, error)


def chord_body(self: Any, group_id: str, body: Any) -> None:
    """All members of a chord have ended: calls the body with their results, or ends it with the error of one."""
    try:
        values, error = parts_of(self.app, group_id)
    except OperationalError as cause:
        raise Reject(str(cause), requeue=True) from cause
    except Exception as cause:  # results that cannot be read: the end comes anyhow
        values, error = [], ChordError(f"Join error: {cause!r}")
        error.__cause__ = cause
    _call_body(self, group_id, maybe_signature(body, app=self.app), values, error)


def _call_body(task: Any, group_id: str, body: Any, values: list[Any], error: ChordError | None) -> None:
    """With the settlement of this run; or the body ends with the error, as if it had been this run."""
    app, request = task.app, task.request
    if error is None:
        try:
            with derived_from(f"{group_id}:body"), app.publisher.gathering(hold=True) as gathered:
                body.apply_async((values,), root_id=request.root_id, parent_id=request.parent_id)
            request.follow_ups.extend(gathered.messages)
            return
        except Exception as cause:  # arguments that do not fit, results that cannot be written: its end comes anyhow
            error = ChordError(f"Callback error: {cause!r}")
            error.__cause__ = cause
    # Results, errbacks, and members of chords around it are the body's from here on.
    request.id, request.ignore_result = body.id or request.id, False
    request.chain, request.errbacks = [body], as_list(body.options.get("link_error"))
    raise error


def parts_of(app: Any, group_id: str) -> tuple[list[Any], ChordError | None]:
    """The results of a chord's members, in order; and the error that the first of those that failed means."""
    values, failed, by_id = [], None, {}
    for part in counting.require(app).parts(group_id):
        result = app.AsyncResult(part.task_id)
        meta = result._take(part.document)
        values.append(meta["result"])
        by_id[part.task_id] = meta["result"]
        if failed is None and meta["status"] != SUCCESS:
            failed = ChordError(f"Dependency {part.task_id} raised {meta['result']!r}")
            failed.__cause__ = meta["result"] if isinstance(meta["result"], BaseException) else None
    if not values:
        return [], ChordError(f"The results of the members of {group_id} are gone")
    # A stock producer keeps the group of a chord of which a member gives several results.
    kept = app.GroupResult.restore(group_id) if failed is None and isinstance(app.backend, Groups) else None
    return values if kept is None else _shaped(kept, by_id) or values, failed


def _shaped(group: Any, values: dict[str, Any]) -> list[Any]:
    """The values in the shape of the group; empty where it names others."""
    try:
        return [_shaped(each, values) if isinstance(each, GroupResult) else values[each.id] for each in group.results]
    except KeyError:
        return []


#: Name -> (body, options).
_TASKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "celeriac.chord_body": (chord_body, {"bind": True, "ignore_result": True, "acks_late": True}),
    "celery.accumulate": (accumulate, {}),
    "celery.backend_cleanup": (backend_cleanup, {}),
    "celery.chain": (chain, {}),
    "celery.chord": (chord, {"bind": True, "ignore_result": False}),
    "celery.chord_unlock": (unlock_chord, {"bind": True, "max_retries": None, "ignore_result": True}),
    "celery.chunks": (chunks, {}),
    "celery.group": (group, {"bind": True}),
    "celery.map": (xmap, {}),
    "celery.starmap": (xstarmap, {}),
}
