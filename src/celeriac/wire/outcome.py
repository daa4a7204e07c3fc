"""Result documents: what Celery's key-value backends keep under `celery-task-meta-<id>`, field for field.

Bytes and values only: it neither stores nor decides what is to be stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import DecodeError
from ..states import EXCEPTION_STATES, PENDING, READY_STATES
from . import compression as compressing
from . import failure, serializers
from .representation import represent

__all__ = ["Outcome", "document", "read"]

#: In front of a compressed document (Celery 5.7), followed by the method, a NUL and the compressed bytes.
_COMPRESSED = b"\x00celery-compressed\x00"

_BASE = frozenset({"status", "result", "traceback", "children", "date_done", "group_id", "parent_id", "task_id"})


class Outcome(Struct, frozen=True):
    """A result document as read. `result` is as stored: an exception is still a mapping (see `exception()`)."""

    task_id: str
    status: str
    result: Any = None
    traceback: str | None = None
    children: list[Any] | None = None
    #: ISO 8601 text, of ready states only.
    date_done: str | None = None
    group_id: str | None = None
    parent_id: str | None = None
    #: With `result_extended`: name, args, kwargs, worker, retries, queue, stamps.
    extended: dict[str, Any] = msgspec.field(default_factory=dict)

    def exception(self) -> BaseException | None:
        """The exception, if the state has one (FAILURE, RETRY, REVOKED). Raises: SecurityError, ValueError."""
        return failure.from_wire(self.result) if self.status in EXCEPTION_STATES else None


def document(
    task_id: str,
    status: str,
    result: Any,
    *,
    traceback: str | None = None,
    children: Sequence[Any] | None = (),
    date_done: datetime | str | None = None,
    group_id: str | None = None,
    parent_id: str | None = None,
    extended: Mapping[str, Any] | None = None,
    serializer: str = "json",
    compression: str | None = None,
) -> bytes:
    """The document of a state.

    `result` is the value, an exception (FAILURE, RETRY, REVOKED), or the meta of a state on the way. `children` are
    results as tuples; None where no run is behind the state. `date_done` is written for ready states only, as in
    Celery. `extended` holds name, args, kwargs, worker, retries and queue where `result_extended` is on.
    Raises: EncodeError that names the place in the result; ImproperlyConfigured.
    """
    if isinstance(result, BaseException) and status in EXCEPTION_STATES:
        result = failure.to_wire(result)
    fields: dict[str, Any] = {
        "status": status,
        "result": result,
        "traceback": traceback,
        "children": children,
        "date_done": None,
    }
    if date_done is not None and status in READY_STATES:
        fields["date_done"] = date_done if isinstance(date_done, str) else date_done.isoformat()
    if group_id:
        fields["group_id"] = group_id
    if parent_id:
        fields["parent_id"] = parent_id
    if extended:
        fields.update(extended)
    fields["task_id"] = task_id
    data = serializers.encode(fields, serializer, ())[0]
    return _compress(data, compression) if compression else data


def _compress(data: bytes, method: str) -> bytes:
    packed, content_type = compressing.compress(data, method)
    return b"".join((_COMPRESSED, content_type.encode(), b"\x00", packed))


def decompressed(document: bytes) -> bytes:
    """The document without the compression that it says it has. Raises: DecodeError."""
    if not document.startswith(_COMPRESSED):
        return document
    method, _, data = document[len(_COMPRESSED) :].partition(b"\x00")
    return compressing.decompress(data, method.decode(errors="replace"))


def read(
    document: bytes,
    accept: frozenset[str] = serializers.JSON,
    *,
    serializer: str = "json",
    setting: str = "result_accept_content",
) -> Outcome:
    """The outcome in a document written with `serializer` (documents do not say with which), whoever wrote it.

    Raises: ContentDisallowed (the text names `setting`); DecodeError.
    """
    data = decompressed(document)
    (content_type,) = serializers.content_types((serializer,))
    try:
        fields = serializers.decode(data, content_type, "utf-8", accept, setting=setting)
    except DecodeError as error:
        raise DecodeError(f"result document {error}") from error
    if not isinstance(fields, dict):
        raise DecodeError("result document is no mapping")
    return _outcome(fields)


_TEXT_OR_NOTHING = frozenset({str, type(None)})
_TYPES = (
    ("status", _TEXT_OR_NOTHING),
    ("task_id", _TEXT_OR_NOTHING),
    ("traceback", _TEXT_OR_NOTHING),
    ("date_done", _TEXT_OR_NOTHING),
    ("group_id", _TEXT_OR_NOTHING),
    ("parent_id", _TEXT_OR_NOTHING),
    ("children", frozenset({list, tuple, type(None)})),
)


def _outcome(fields: dict[str, Any]) -> Outcome:
    get = fields.get
    for name, kinds in _TYPES:
        if type(get(name)) not in kinds:
            raise DecodeError(f"result document: {name!r} is {represent(get(name), 100)}")
    return Outcome(
        get("task_id") or "",
        get("status") or PENDING,
        get("result"),
        get("traceback"),
        get("children"),
        get("date_done"),
        get("group_id"),
        get("parent_id"),
        {name: value for name, value in fields.items() if name not in _BASE} if len(fields) > 6 else {},
    )
