"""Chords: what ends with a run. A member that has ended is counted in the step that settles it, whatever its end; and
what can never run because of a failure - the rest of a chain, the body of a chord - ends with that failure.

It decides and makes values; engines count (`backends.base.Counting`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import structs

from ..brokers.base import Member, Outgoing, Settlement
from ..client import calling
from ..client import options as call_options
from ..client.request import Context
from ..errors import TaskRevokedError
from ..wire.message import Record
from .records import Records

if TYPE_CHECKING:
    from ..client.app import Celery

#: The built-in task that calls a chord's body once its members have ended.
FIRES = "celeriac.chord_body"

_NAMESPACE = uuid.UUID("5e1e71ac-0000-4000-8000-000000000003")


def ended(
    records: Records,
    settlement: Settlement,
    request: Context,
    record: Record | None,
    error: BaseException | None = None,
    traceback: str | None = None,
) -> Settlement:
    """The settlement of a run, or of what does not run, with what ends beside it: its part of a chord, of which
    `record` is the end; and with an `error`, what cannot run any more because of it. On engines that do not count it
    stays as it is."""
    if not records.counts or not (request.chord or request.chain):
        return settlement
    counted = member(records.app, request, record)
    also: list[Record] = []
    if error is not None and request.chain:
        also, more = casualties(records, request, error, traceback)
        counted = (*counted, *more)
    return structs.replace(settlement, members=counted, also=tuple(also))


def member(app: Celery, request: Context, record: Record | None) -> tuple[Member, ...]:
    """The run as a member of its chord, if it is one; `record` is its end."""
    if not request.chord or not request.group or record is None:
        return ()
    index = request.group_index or 0
    return (
        Member(
            request.group, request.id or "", index, record.document, _fire(app, request, request.group, request.chord)
        ),
    )


def whose_end(request: Context) -> Context:
    """Whose end it is that this run cannot end by itself: that of a chord's body, where it was to call one."""
    body = (request.args or ())[1:2]
    if request.get("task") != FIRES or not body or not isinstance(body[0], dict):
        return request
    options = body[0].get("options") or {}
    errbacks = options.get("link_error") or ()
    return Context(
        id=options.get("task_id") or request.id, task=FIRES, args=request.args, kwargs=request.kwargs,
        root_id=request.root_id, parent_id=request.parent_id, delivery_info=request.delivery_info,
        retries=request.retries, ignore_result=False, chain=[body[0]],
        errbacks=[errbacks] if isinstance(errbacks, dict) else list(errbacks),
    )  # fmt: skip


def casualties(
    records: Records, request: Context, error: BaseException, traceback: str | None
) -> tuple[list[Record], list[Member]]:
    """What the rest of the chain of a run ends with, now that it has failed: results, and members to be counted."""
    stored: list[Record] = []
    counted: list[Member] = []
    for options in _ends(request.chain or ()):
        if not options.get("task_id"):
            continue  # nobody was given an id to wait for
        end = Context(
            id=options["task_id"], group=options.get("group_id"), group_index=options.get("group_index"),
            chord=options.get("chord"), root_id=request.root_id, parent_id=request.id, children=None,
        )  # fmt: skip
        revoked = isinstance(error, TaskRevokedError)
        record = records.revoked(end, error) if revoked else records.failure(end, error, traceback)
        if record is not None:
            stored.append(record)
            counted += member(records.app, end, record)
    return stored, counted


def _ends(specs: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The options of every call that would have been made: of a chord its members too, which are counted for nothing,
    since its body ends by itself."""
    for spec in specs:
        kind, kwargs = spec.get("subtask_type"), spec.get("kwargs") or {}
        if kind in ("chain", "group"):
            yield from _ends(kwargs.get("tasks") or ())
        elif kind == "chord":
            header = kwargs.get("header") or ()
            members = (header.get("kwargs") or {}).get("tasks") or () if isinstance(header, Mapping) else header
            yield from ({**options, "chord": None} for options in _ends(members))
            yield from _ends([kwargs["body"]] if kwargs.get("body") else ())
        else:
            yield spec.get("options") or {}
        yield from _ends((spec.get("options") or {}).get("chain") or ())  # what was to follow it


def _fire(app: Celery, request: Context, group_id: str, body: Mapping[str, Any]) -> Outgoing:
    """The message that has the body called. Its id is the group's own: whichever member completes it sends the same."""
    options = body.get("options") or {}
    said = {
        "task_id": str(uuid.uuid5(_NAMESPACE, group_id)),
        "root_id": request.root_id or request.id,
        "parent_id": request.id,
        "priority": options.get("priority"),
        "queue": options.get("queue"),
        "ignore_result": True,
    }
    task = app.tasks[FIRES]
    merged = call_options.read({k: v for k, v in said.items() if v is not None}, calling.defaults(task))
    return app.publisher.prepare(FIRES, (group_id, dict(body)), {}, merged, inherit=False)
