"""Parts: what Celery keeps of each member of a chord on Redis, `[1, task_id, state, result]`.

In the serializer of results. Bytes only: a result is carried over as it was written, wherever it is JSON. It counts
nothing.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import DecodeError
from . import serializers
from .outcome import decompressed


class _Document(Struct):
    status: str
    result: msgspec.Raw = msgspec.Raw(b"null")


_documents = msgspec.json.Decoder(_Document)
_parts = msgspec.json.Decoder(tuple[int, str, str, msgspec.Raw])
_encode = msgspec.json.encode


def from_document(task_id: str, document: bytes) -> bytes:
    """The part of a member whose result document, written by this process, is given. A document in a form that nobody
    but its serializer knows gives one that says no more than whose it is."""
    data = decompressed(document)
    if not data.startswith(b"{"):
        try:
            return _from_other(task_id, data)
        except Exception:  # anything may come out of a serializer of users' own
            return b"\x00" + task_id.encode()
    try:
        read = _documents.decode(data)
        return b"[1,%b,%b,%b]" % (_encode(task_id), _encode(read.status), read.result)
    except msgspec.MsgspecError:  # NaN, say, which Python writes and nobody else reads
        fields = _loads(data)
        return json.dumps([1, task_id, fields["status"], fields.get("result")]).encode()


def _from_other(task_id: str, data: bytes) -> bytes:
    if data.startswith(b"\x80") and data[1:2] <= b"\x05":
        name = "pickle"
    else:
        name = "msgpack" if data[:1] >= b"\x80" else "yaml"
    (content_type,) = serializers.content_types((name,))
    encoding = "utf-8" if name == "yaml" else "binary"
    fields = serializers.decode(data, content_type, encoding, frozenset({content_type}))
    return serializers.encode([1, task_id, fields["status"], fields.get("result")], name, ())[0]


def read(part: bytes) -> tuple[str, bytes] | None:
    """The task's id, and a result document of what the part says; None of what is no JSON. Raises: DecodeError."""
    data = decompressed(part)
    if not data.startswith(b"["):
        return None
    try:
        _, task_id, state, result = _parts.decode(data)
    except msgspec.MsgspecError:
        _, task_id, state, value = _loads(data)
        result = msgspec.Raw(json.dumps(value).encode())
    fields = b'{"status":%b,"result":%b,"traceback":null,"children":[],"date_done":null,"task_id":%b}'
    return task_id, fields % (_encode(state), result, _encode(task_id))


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise DecodeError(f"part of a chord is no JSON: {error}") from error
