"""Task messages, protocol 2: headers in Celery's set and order, and the body `[args, kwargs, embed]`.

Makes messages from values that others have decided, and reads them. It decides nothing: no defaults from settings, no
clock, no routing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..errors import DecodeError, InvalidTaskError
from ..foundation import dates
from . import compression as compressing
from . import serializers
from .message import Headers, Message
from .representation import represent
from .serializers import tagged

__all__ = ["Embed", "body", "build", "embed", "identify", "is_protocol2", "read_body"]

#: The third part of a body: `callbacks`, `errbacks`, `chain`, `chord`.
Embed = dict[str, Any]

_PARTS = ("args", "kwargs", "embed")


def embed(
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    chord: Any = None,
) -> Embed:
    """What follows this task, as signatures (dicts). All four keys, as Celery sends them."""
    return {"callbacks": callbacks, "errbacks": errbacks, "chain": chain, "chord": chord}


def body(
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    embed: Embed | None = None,
    serializer: str = "json",
) -> tuple[bytes, str, str]:
    """The body's bytes, content type and content encoding.

    Raises: TypeError for `args` or `kwargs` of the wrong kind; EncodeError naming the place
    (`args[1]['x']: object of type Foo …`); ImproperlyConfigured for an unknown serializer.
    """
    if not isinstance(args, (list, tuple)):
        if args:
            raise TypeError("task args must be a list or tuple")
        args = ()
    if not isinstance(kwargs, dict):
        if kwargs and not isinstance(kwargs, Mapping):
            raise TypeError("task keyword arguments must be a mapping")
        kwargs = dict(kwargs or {})
    return serializers.encode((args, kwargs, embed or _NO_EMBED), serializer, _PARTS)


_NO_EMBED = embed()


def build(
    task: str,
    task_id: str,
    body: bytes,
    *,
    content_type: str = "application/json",
    content_encoding: str = "utf-8",
    root_id: str | None = None,
    parent_id: str | None = None,
    group: str | None = None,
    group_index: int | None = None,
    retries: int = 0,
    eta: str | datetime | None = None,
    expires: str | datetime | None = None,
    timelimit: tuple[float | None, float | None] = (None, None),
    argsrepr: str = "()",
    kwargsrepr: str = "{}",
    origin: str | None = None,
    ignore_result: bool | None = False,
    shadow: str | None = None,
    reply_to: str | None = None,
    correlation_id: str | None = None,
    priority: int | None = None,
    delivery_mode: int = 2,
    expiration: float | None = None,
    compression: str | None = None,
    headers: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    stamped_headers: Sequence[str] | None = None,
    stamps: Mapping[str, Any] | None = None,
    replaced_task_nesting: int = 0,
    lang: str = "py",
) -> Message:
    """The message of one call (guide: Internals, "Message protocol").

    `body` is what `body()` returned; `timelimit` is (hard, soft) in seconds; `eta` and `expires` are instants or their
    ISO 8601 text; `expiration` is the time in seconds after which a broker may drop the message; `headers` are the
    user's and win over the protocol's, as in Celery; `properties` are added to AMQP's. `root_id` defaults to `task_id`.
    Raises: EncodeError for a header that JSON cannot carry; ImproperlyConfigured for an unknown `compression`.
    """
    all_headers: Headers = {
        "lang": lang,
        "task": task,
        "id": task_id,
        "shadow": shadow,
        "eta": dates.text(eta) if eta else None,
        "expires": dates.text(expires) if expires else None,
        "group": group,
        "group_index": group_index,
        "retries": retries,
        "timelimit": list(timelimit),
        "root_id": root_id or task_id,
        "parent_id": parent_id,
        "argsrepr": argsrepr,
        "kwargsrepr": kwargsrepr,
        "origin": origin,
        "ignore_result": ignore_result,
        "replaced_task_nesting": replaced_task_nesting,
        "stamped_headers": stamped_headers,
        "stamps": stamps or {},
    }
    if headers:
        all_headers.update(headers)
    if headers or stamps:
        # Here, in the caller's call: the envelope is written where many calls travel together.
        tagged.check((headers, stamps), ("headers", "stamps"))
    if compression:
        body, all_headers["compression"] = compressing.compress(body, compression)
    all_properties: dict[str, Any] = {
        "correlation_id": correlation_id or task_id,
        "reply_to": reply_to or "",
        "delivery_mode": delivery_mode,
    }
    if expiration is not None:
        all_properties["expiration"] = str(int(expiration * 1000))
    if properties:
        all_properties.update(properties)
    all_properties["priority"] = priority or 0
    return Message(all_headers, body, all_properties, content_type, content_encoding)


# -- reading -----------------------------------------------------------------------------------------------------------


def is_protocol2(message: Message) -> bool:
    """Whether the headers say that this is a task message of protocol 2 (else it may be of protocol 1)."""
    return "task" in message.headers and "id" in message.headers


def identify(message: Message) -> tuple[str, str]:
    """The task's name and the task id, every header that a worker computes with having been looked at.

    Raises: InvalidTaskError that names the header which is missing or of the wrong type.
    """
    headers = message.headers
    for name, kinds in _HEADER_TYPES:
        if type(headers.get(name)) not in kinds:
            raise InvalidTaskError(f"no task message: header {name!r} is {_shown(headers.get(name))}")
    task, task_id = headers["task"], headers["id"]
    if not task or not task_id:
        raise InvalidTaskError(f"no task message: header {'id' if task else 'task'!r} is empty")
    if headers.get("timelimit") is not None:
        _check_limits(headers["timelimit"])
    return task, task_id


_NONE = type(None)
_TEXT = frozenset({str})
_TEXT_OR_NOTHING = frozenset({str, _NONE})
#: A tagged datetime is read as one; Celery takes it for what it is.
_INSTANT = frozenset({str, datetime, _NONE})
_HEADER_TYPES = (
    ("task", _TEXT),
    ("id", _TEXT),
    ("retries", frozenset({int, _NONE})),
    ("eta", _INSTANT),
    ("expires", _INSTANT),
    ("root_id", _TEXT_OR_NOTHING),
    ("parent_id", _TEXT_OR_NOTHING),
    ("group", _TEXT_OR_NOTHING),
    ("shadow", _TEXT_OR_NOTHING),
)


def _check_limits(limits: Any) -> None:
    if type(limits) is list and len(limits) == 2:
        hard, soft = limits
        if (hard is None or type(hard) in _NUMBERS) and (soft is None or type(soft) in _NUMBERS):
            return
    raise InvalidTaskError(f"no task message: header 'timelimit' is {_shown(limits)}")


_NUMBERS = frozenset({int, float})


def _shown(value: Any) -> str:
    return represent(value, 100)


def read_body(
    message: Message,
    accept: frozenset[str] = serializers.JSON,
    *,
    setting: str = "accept_content",
) -> tuple[list[Any], dict[str, Any], Embed]:
    """The call: args, kwargs, embed (always with its four keys). `accept` holds content types
    (`serializers.content_types`).

    Raises: ContentDisallowed (the text names `setting`); DecodeError; InvalidTaskError if what decodes is no call.
    """
    data = message.body
    method = message.headers.get("compression")
    try:
        if method:
            data = compressing.decompress(data, method)
        value = serializers.decode(data, message.content_type, message.content_encoding, accept, setting=setting)
    except DecodeError as error:
        raise DecodeError(f"body {error}") from error
    if type(value) not in _SEQUENCES or len(value) != 3:
        raise InvalidTaskError("no task message: the body is not [args, kwargs, embed]")
    args, kwargs, following = value
    if type(args) not in _SEQUENCES:
        raise InvalidTaskError(f"no task message: args are {type(args).__name__}, not a list")
    if type(kwargs) is not dict:
        raise InvalidTaskError("Task keyword arguments must be a mapping")
    if following is not None and type(following) is not dict:
        raise InvalidTaskError(f"no task message: embed is {type(following).__name__}, not a mapping")
    if not following or not following.keys() >= _NO_EMBED.keys():
        following = {**_NO_EMBED, **(following or {})}
    return args if type(args) is list else list(args), kwargs, following


_SEQUENCES = (list, tuple)
