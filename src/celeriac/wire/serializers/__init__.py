"""Values to bytes and back, by the name of a serializer. JSON is built in and fast; the others are opt-in.

Nothing is decoded that is not accepted: the refusal names the setting that would accept it (R12). Every failure is an
`EncodeError`, a `DecodeError` or a `ContentDisallowed` with a text; no other exception leaves this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from ...errors import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured
from . import others, tagged

__all__ = ["JSON", "content_types", "decode", "encode", "name_of", "register", "unregister"]

#: The content types accepted by default.
JSON = frozenset({"application/json"})

#: Content that is not decoded at all is harmless; kombu always lets it through.
_TRUSTED = frozenset({"application/data", "application/text"})
_BINARY = frozenset({"binary", "ascii-8bit"})

Encoder = Callable[[Any], "bytes | str"]
Decoder = Callable[[bytes], Any]


class _Serializer(Struct, frozen=True):
    name: str
    content_type: str
    content_encoding: str
    encoder: Encoder | None
    decoder: Decoder | None


_by_name: dict[str, _Serializer] = {}
_by_type: dict[str, _Serializer] = {}


def register(
    name: str,
    encoder: Encoder | None,
    decoder: Decoder | None,
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Add a serializer, or replace one (kombu's `kombu.serialization.register`).

    `encoder` takes a value and returns bytes or text, `decoder` takes bytes; None where there is no such direction.
    Both may raise any `Exception`. Registering does not accept: that is the setting `accept_content`.
    """
    serializer = _Serializer(name, content_type, content_encoding, encoder, decoder)
    _by_name[name] = serializer
    _by_type[content_type] = serializer


def unregister(name: str) -> None:
    """Remove a serializer. Raises: ImproperlyConfigured if there is none of that name."""
    serializer = _by_name.pop(name, None)
    if serializer is None:
        raise ImproperlyConfigured(f"No encoder/decoder installed for {name}")
    _by_type.pop(serializer.content_type, None)


def content_types(names: Iterable[str]) -> frozenset[str]:
    """Content types for names of serializers (`accept_content`); what has a slash in it is one already.

    Raises: ImproperlyConfigured for a name that nobody registered.
    """
    return frozenset(name if "/" in name else _named(name).content_type for name in names)


def name_of(content_type: str) -> str:
    """The serializer's name, or the content type itself if nobody registered it."""
    known = _by_type.get(content_type)
    return known.name if known else content_type


def _named(name: str) -> _Serializer:
    try:
        return _by_name[name]
    except KeyError:
        known = ", ".join(sorted(_by_name))
        raise ImproperlyConfigured(f"No encoder/decoder installed for {name}: there are {known}") from None


def encode(value: Any, name: str = "json", roots: tuple[str, ...] | None = None) -> tuple[bytes, str, str]:
    """The bytes of `value`, their content type and content encoding.

    `roots` names the items of a tuple `value` in error texts (`args[1]['x']: object of type Foo …`); of a mapping its
    keys do, if `roots` is given at all (`()`).
    Raises: EncodeError naming the place; ImproperlyConfigured for an unknown serializer.
    """
    if name == "json":
        return tagged.encode(value, roots), "application/json", "utf-8"
    serializer = _named(name)
    if serializer.encoder is None:
        raise EncodeError(f"No encoder installed for {name}")
    try:
        data = serializer.encoder(value)
        return data.encode() if isinstance(data, str) else data, serializer.content_type, serializer.content_encoding
    except Exception as error:  # whatever a serializer or a user's __reduce__ raises
        raise EncodeError(f"cannot be written as {name}: {type(error).__name__}: {error}") from error


def decode(
    data: bytes,
    content_type: str,
    content_encoding: str = "utf-8",
    accept: frozenset[str] = JSON,
    *,
    setting: str = "accept_content",
) -> Any:
    """The value in `data`.

    `accept` holds content types (`content_types` makes them from names). Content that is neither registered nor
    binary is text in `content_encoding`; binary content comes back as it is.
    Raises: ContentDisallowed (the text names `setting`), DecodeError.
    """
    if content_type not in accept and content_type not in _TRUSTED:
        raise _refusal(content_type, setting)
    if content_type == "application/json":
        return tagged.decode(data)
    serializer = _by_type.get(content_type)
    if serializer is None or serializer.decoder is None:
        return _decode_text(data, content_encoding)
    try:
        return serializer.decoder(data)
    except Exception as error:  # whatever hostile bytes make a decoder raise
        raise DecodeError(f"is no {serializer.name}: {type(error).__name__}: {error}") from error


def _decode_text(data: bytes, content_encoding: str) -> Any:
    if content_encoding.lower() in _BINARY:
        return data
    try:
        return data.decode(content_encoding)
    except (LookupError, ValueError) as error:
        raise DecodeError(f"is no {content_encoding} text: {error}") from error


def _refusal(content_type: str, setting: str) -> ContentDisallowed:
    name = name_of(content_type)
    called = content_type if name == content_type else f"{name} ({content_type})"
    return ContentDisallowed(
        f"Refusing to deserialize untrusted content of type {called}: "
        f"if you trust everyone who can write to the server, add {name!r} to the setting {setting}"
    )


register("json", tagged.encode, tagged.decode, "application/json")
register("pickle", others.pickle_encode, others.pickle_decode, "application/x-python-serialize", "binary")
register("yaml", others.yaml_encode, others.yaml_decode, "application/x-yaml")
register("msgpack", others.msgpack_encode, others.msgpack_decode, "application/x-msgpack", "binary")
