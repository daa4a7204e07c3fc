"""Task messages, protocol 1: what Celery before 4 and some clients in other languages send. Read, never written.

The whole call stands in the body as one object; here it becomes a protocol-2 message that means the same.
"""

from __future__ import annotations

from typing import Any

from ..errors import DecodeError, InvalidTaskError
from . import compression, protocol2, serializers
from .message import Headers, Message
from .representation import represent

__all__ = ["to_protocol2"]


def to_protocol2(
    message: Message,
    accept: frozenset[str] = serializers.JSON,
    *,
    setting: str = "accept_content",
) -> Message:
    """The same call as protocol 2. Headers that the message has are kept and win; a header `utc` is there only if
    its `eta` and `expires` are local times (False).

    Raises: ContentDisallowed, DecodeError; InvalidTaskError if the body is no call.
    """
    fields = _fields(message, accept, setting)
    args, kwargs = fields.get("args") or (), fields.get("kwargs") or {}
    if not isinstance(kwargs, dict):
        raise InvalidTaskError("Task keyword arguments must be a mapping")
    if not isinstance(args, (list, tuple)):
        raise InvalidTaskError(f"no task message: args are {type(args).__name__}, not a list")
    following = protocol2.embed(fields.get("callbacks"), fields.get("errbacks"), None, fields.get("chord"))
    body, content_type, content_encoding = protocol2.body(
        args, kwargs, following, serializers.name_of(message.content_type)
    )
    headers = _headers(fields, args, kwargs)
    headers.update((name, value) for name, value in message.headers.items() if name != "compression")
    converted = Message(headers, body, message.properties, content_type, content_encoding)
    protocol2.identify(converted)
    return converted


def _fields(message: Message, accept: frozenset[str], setting: str) -> dict[str, Any]:
    data, method = message.body, message.headers.get("compression")
    try:
        if method:
            data = compression.decompress(data, method)
        fields = serializers.decode(data, message.content_type, message.content_encoding, accept, setting=setting)
    except DecodeError as error:
        raise DecodeError(f"body {error}") from error
    if not isinstance(fields, dict) or "task" not in fields:
        raise InvalidTaskError("no task message: neither the headers nor the body name a task")
    return fields


def _headers(fields: dict[str, Any], args: Any, kwargs: Any) -> Headers:
    get = fields.get
    limits = get("timelimit")
    if isinstance(limits, tuple):
        limits = list(limits)
    headers: Headers = {
        "lang": get("lang"),
        "task": get("task"),
        "id": get("id"),
        "shadow": get("shadow"),
        "eta": get("eta"),
        "expires": get("expires"),
        "group": get("taskset") or get("group"),
        "group_index": get("group_index"),
        "retries": get("retries") or 0,
        "timelimit": limits if isinstance(limits, list) and len(limits) == 2 else [None, None],
        "root_id": get("root_id"),
        "parent_id": get("parent_id"),
        "argsrepr": represent(args),
        "kwargsrepr": represent(kwargs),
        "origin": get("origin"),
        "ignore_result": get("ignore_result"),
    }
    if get("utc") is False:
        headers["utc"] = False
    return headers
