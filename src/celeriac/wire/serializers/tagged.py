"""JSON with kombu's type tags: `{"__type__": "datetime", "__value__": "2030-01-01T00:00:00"}`.

Two roads to the same value: msgspec for what is plain, the standard library's encoder with kombu's rules for all else.
A type that kombu does not tag (set, timedelta, a dataclass) is refused here too: a stock peer could not read our tag.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from ...errors import DecodeError, EncodeError
from .plain import is_plain

__all__ = ["decode", "encode", "register_type"]

_fast_encode = msgspec.json.Encoder().encode
_fast_decode = msgspec.json.Decoder().decode

#: What announces a tag; the second form is an underscore that some writer has escaped.
_MARK = b"__type__"
_ESCAPED_MARK = b"\\u005"

_encoders: dict[type, tuple[str | None, Callable[[Any], Any]]] = {}
_decoders: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda text: text.encode(),
    "base64": lambda text: base64.b64decode(text.encode()),
}


def register_type(
    kind: type,
    marker: str | None,
    encoder: Callable[[Any], Any],
    decoder: Callable[[Any], Any] = lambda value: value,
) -> None:
    """Teach JSON another type (kombu's `kombu.utils.json.register_type`; every peer must be taught it).

    Instances of `kind` are written as what `encoder` returns, tagged with `marker`; with None they are written
    untagged and come back as that. The first registered kind that an object is an instance of wins.
    """
    _encoders[kind] = (marker, encoder)
    if marker is not None:
        _decoders[marker] = decoder


# datetime before date: it is one.
register_type(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
register_type(date, "date", lambda day: day.isoformat(), lambda text: datetime.fromisoformat(text).date())
register_type(time, "time", lambda of_day: of_day.isoformat(), time.fromisoformat)
register_type(Decimal, "decimal", str, Decimal)
register_type(UUID, "uuid", lambda uuid: {"hex": uuid.hex}, lambda fields: UUID(**fields))


# -- writing ---------------------------------------------------------------------------------------------------------


def encode(value: Any, roots: tuple[str, ...] | None = None) -> bytes:
    """The JSON of `value`. `roots` names the items of a tuple `value` in error texts; of a mapping the keys do, if it
    is given at all.

    Raises: EncodeError, which names the place and the type.
    """
    if is_plain(value):
        try:
            return _fast_encode(value)
        except Exception:  # half a surrogate pair, an integer of 5,000 digits: the exact encoder knows what to do
            pass
    return encode_exactly(value, roots)


def encode_exactly(value: Any, roots: tuple[str, ...] | None = None) -> bytes:
    """As kombu would write it. Raises: EncodeError."""
    try:
        return _exact.encode(value).encode()
    except Exception as error:  # also whatever a user's __json__ raises
        raise EncodeError(_complaint(value, roots, error)) from error


def check(value: Any, roots: tuple[str, ...] | None = None) -> None:
    """Raises: EncodeError if `value` cannot be written. The text names the place."""
    if not is_plain(value):
        encode_exactly(value, roots)


def _default(value: Any) -> Any:
    """What stands for an object that JSON has no form for; kombu's order of trial."""
    reducer = getattr(value, "__json__", None)
    if reducer is not None:
        return reducer()
    if _is_lazy_text(value):
        return str(value)
    for kind, (marker, encoder) in _encoders.items():
        if isinstance(value, kind):
            return encoder(value) if marker is None else {"__type__": marker, "__value__": encoder(value)}
    if isinstance(value, bytes):
        try:
            return {"__type__": "bytes", "__value__": value.decode()}
        except UnicodeDecodeError:
            return {"__type__": "base64", "__value__": base64.b64encode(value).decode()}
    raise TypeError(f"object of type {type(value).__name__} is not JSON serializable")


def _is_lazy_text(value: Any) -> bool:
    """Django's translations. Only a process that has loaded them can have one."""
    functional = sys.modules.get("django.utils.functional")
    return functional is not None and isinstance(value, functional.Promise)


_exact = json.JSONEncoder(default=_default)


# -- where it went wrong -----------------------------------------------------------------------------------------------


def _complaint(value: Any, roots: tuple[str, ...] | None, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply for JSON"
    if isinstance(error, ValueError) and "Circular" in str(error):
        return "a value that contains itself cannot be JSON"
    try:
        for place, part in _named_parts(value, roots):
            found = _culprit(part, place)
            if found:
                return found
    except Exception:  # a user's object that resists being looked at
        pass
    return f"{type(error).__name__}: {error}"


def _named_parts(value: Any, roots: tuple[str, ...] | None) -> Iterator[tuple[str, Any]]:
    if roots is not None and isinstance(value, dict):
        yield from ((str(key), part) for key, part in value.items())
    elif roots and isinstance(value, (list, tuple)) and len(value) == len(roots):
        yield from zip(roots, value, strict=True)
    else:
        yield "value", value


def _culprit(value: Any, place: str) -> str | None:
    """`args[1]['x']: object of type Foo …`, of the innermost part that cannot be written."""
    try:
        _exact.encode(value)
        return None
    except Exception as error:
        for key, part in _parts(value):
            if not isinstance(key, (str, int, float, bool, type(None))):
                return f"{place}: a key of type {type(key).__name__} ({key!r:.100}) is not JSON serializable"
            found = _culprit(part, f"{place}[{key!r:.100}]")
            if found:
                return found
        return f"{place}: {error}"


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    if isinstance(value, (list, tuple)):
        return iter(enumerate(value))
    return iter(())


# -- reading -----------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> Any:
    """The value, with tagged parts restored. Raises: DecodeError."""
    if _MARK not in data and _ESCAPED_MARK not in data:
        try:
            return _fast_decode(data)
        except Exception:  # NaN, 1e400, half a surrogate pair: legal for kombu; the rest fails again below
            pass
    return decode_exactly(data)


def decode_exactly(data: bytes) -> Any:
    """As kombu would read it. Raises: DecodeError."""
    try:
        return json.loads(bytes(data).decode(), object_hook=_restore)
    except RecursionError as error:
        raise DecodeError("is no usable JSON: nested too deeply") from error
    except Exception as error:  # whatever a decoder of a registered type raises
        raise DecodeError(f"is no usable JSON: {type(error).__name__}: {error}") from error


def _restore(fields: dict[str, Any]) -> Any:
    if fields.keys() != {"__type__", "__value__"}:
        return fields
    decoder = _decoders.get(fields["__type__"])
    if decoder is None:
        raise ValueError(f"unsupported type tag {fields['__type__']!r:.100}")
    return decoder(fields["__value__"])
