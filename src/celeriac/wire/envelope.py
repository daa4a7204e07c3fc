"""kombu's virtual envelope: the one JSON object in which a message lies in a Redis list (or any of our own queues).

Bytes to `Message` and back; the body is not looked into. It must not know of tasks, and not raise anything but
`DecodeError` whatever the bytes.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec import Struct, field

from ..errors import DecodeError
from .message import Message
from .serializers import tagged
from .serializers.plain import is_plain

__all__ = ["decode", "encode"]


class _Envelope(Struct):
    """Field for field as kombu writes it. msgspec writes bytes as base64, which is just what is wanted."""

    body: bytes
    content_encoding: str | None = field(name="content-encoding", default=None)
    content_type: str | None = field(name="content-type", default=None)
    headers: dict[str, Any] | None = None
    properties: dict[str, Any] | None = None


_fast_encode = msgspec.json.Encoder().encode
_fast_decode = msgspec.json.Decoder(_Envelope).decode


def encode(message: Message, routing_key: str, delivery_tag: str, *, exchange: str = "") -> bytes:
    """The envelope of `message` on its way to the queue `routing_key` (through `exchange`, empty: directly).

    Raises: EncodeError for a header or property that JSON cannot carry.
    """
    headers, properties = message.headers, dict(message.properties)
    properties["delivery_info"] = {"exchange": exchange, "routing_key": routing_key}
    if properties.get("priority") is None:
        properties["priority"] = 0
    properties["body_encoding"] = "base64"
    properties["delivery_tag"] = delivery_tag
    if is_plain(headers) and is_plain(properties):
        try:
            return _fast_encode(
                _Envelope(message.body, message.content_encoding, message.content_type, headers, properties)
            )
        except Exception:  # half a surrogate pair in a header: the exact way knows what to do
            pass
    return tagged.encode_exactly(
        {
            "body": base64.b64encode(message.body).decode(),
            "content-encoding": message.content_encoding,
            "content-type": message.content_type,
            "headers": headers,
            "properties": properties,
        }
    )


def decode(payload: bytes) -> Message:
    """The message in an envelope, whoever wrote it; also one whose body is not base64.

    Properties come as they stand there, without `body_encoding`. Raises: DecodeError.
    """
    if b"__type__" not in payload:
        try:
            envelope = _fast_decode(payload)
        except Exception:  # not base64, NaN in a header, no JSON at all: the slow way tells them apart
            return _decode_slowly(payload)
        properties = envelope.properties
        if properties is not None and properties.pop("body_encoding", None) == "base64":
            return Message(
                envelope.headers or {},
                envelope.body,
                properties,
                envelope.content_type or "application/data",
                envelope.content_encoding or "utf-8",
            )
    return _decode_slowly(payload)


def _decode_slowly(payload: bytes) -> Message:
    try:
        fields = tagged.decode_exactly(payload)
    except DecodeError as error:
        raise DecodeError(f"envelope {error}") from error
    if not isinstance(fields, dict):
        raise DecodeError(f"envelope is {_kind(fields)}, not an object")
    properties = dict(_mapping(fields, "properties"))
    encoding = properties.pop("body_encoding", None)
    return Message(
        _mapping(fields, "headers"),
        _body(fields.get("body"), encoding),
        properties,
        _text(fields, "content-type") or "application/data",
        _text(fields, "content-encoding") or "utf-8",
    )


def _mapping(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DecodeError(f"envelope: {name!r} is {_kind(value)}, not an object")
    return value


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise DecodeError(f"envelope: {name!r} is {_kind(value)}, not text")
    return value


def _body(value: Any, encoding: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, bytes):  # tagged as bytes: kombu lets them pass, whatever the encoding says
        return value
    if not isinstance(value, str):
        raise DecodeError(f"envelope: 'body' is {_kind(value)}, not text")
    if encoding is None or encoding == "utf-8":
        return value.encode(errors="surrogatepass")
    if encoding != "base64":
        raise DecodeError(f"envelope: 'body_encoding' is {encoding!r:.100}, which nobody knows")
    try:
        return base64.b64decode(value)
    except ValueError as error:
        raise DecodeError(f"envelope: 'body' is no base64: {error}") from error


def _kind(value: Any) -> str:
    return {dict: "an object", list: "an array", str: "text", type(None): "null"}.get(type(value), "a number or so")
