"""States that a task reports while it runs (`Task.update_state`): written at once, beside the settlement."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..states import READY_STATES
from ..wire import outcome
from ..wire.message import Record

if TYPE_CHECKING:
    from .app import Celery
    from .request import Context


#: The state of a task that tells how far it is (`Task.progress`): Celery has no name for it, only an example.
PROGRESS = "PROGRESS"


def state_record(app: Celery, task_id: str | None, state: str | None, meta: Any, request: Context | None) -> Record:
    """The record of `state` with `meta` as its result. It never replaces the final state of a task that has ended.

    Raises: EncodeError (naming the place in `meta`), TypeError outside of a run.
    """
    if task_id is None:
        raise TypeError("update_state() needs a task_id outside of a running task")
    if not state:
        raise TypeError("update_state() needs a state")
    conf = app.conf
    document = outcome.document(
        task_id,
        state,
        meta,
        children=[child.as_tuple() for child in (request and request._children) or ()],
        date_done=datetime.now(UTC),
        group_id=request.group if request else None,
        parent_id=request.parent_id if request else None,
        extended=extended(request) if request and conf.result_extended else None,
        serializer=conf.result_serializer,
        compression=conf.result_compression,
    )
    return Record(task_id, document, seconds(conf.result_expires), state in READY_STATES)


def extended(request: Context) -> dict[str, Any]:
    """What `result_extended` adds to a result."""
    came_by = request.delivery_info or {}
    return {
        "name": getattr(request, "task", None),
        "args": request.args,
        "kwargs": request.kwargs,
        "worker": request.hostname,
        "retries": request.retries,
        "queue": came_by.get("routing_key"),
    }


def seconds(expires: timedelta | float | None) -> float | None:
    """`result_expires` in seconds; None, and 0 as in Celery, for ever."""
    if isinstance(expires, timedelta):
        expires = expires.total_seconds()
    return expires or None
