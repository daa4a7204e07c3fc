"""Serializers by name, what is plain, and our own additions."""

from __future__ import annotations

import enum
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from celeriac.errors import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured
from celeriac.wire import compression, serializers
from celeriac.wire.serializers import tagged
from celeriac.wire.serializers.plain import is_plain


class Colour(enum.StrEnum):
    RED = "red"


@dataclass
class Point:
    x: int


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "value", [1, 1.5, "a", True, None, [1, "a"], (1, (2,)), {"a": {"b": [1.0]}}, [1] * 100, [[]] * 100]
)
def test_plain(value: Any) -> None:
    assert is_plain(value)


@pytest.mark.parametrize(
    "value",
    [float("nan"), [float("inf")], Colour.RED, {1: 2}, {"a": {1}}, b"a", datetime(2030, 1, 1), Point(1), Pair(1, 2)]
    + [OrderedDict(), [1] * 50 + [Colour.RED], {"a": [{"b": Point(1)}]}, type("S", (str,), {})("a")],
    ids=repr,
)
def test_not_plain(value: Any) -> None:
    assert not is_plain(value)


def test_what_contains_itself_is_not_plain() -> None:
    value: list[Any] = []
    value.append(value)
    assert not is_plain(value)


def test_a_data_class_is_refused_as_by_kombu() -> None:
    with pytest.raises(EncodeError, match="object of type Point"):
        tagged.encode([Point(1)])


def test_enumerations_of_text_are_text() -> None:
    assert tagged.encode([Colour.RED, Pair(1, 2)]) == b'["red", [1, 2]]'


def test_a_tag_in_disguise() -> None:
    assert tagged.decode(b'{"\\u005f_type__": "decimal", "__value__": "1.10"}') == tagged.decode(
        b'{"__type__": "decimal", "__value__": "1.10"}'
    )


@pytest.mark.parametrize("tag", ["[]", "{}", "null", "5", '"nonsense"'])
def test_a_tag_that_nobody_knows(tag: str) -> None:
    with pytest.raises(DecodeError):
        tagged.decode(b'{"__type__": %s, "__value__": 1}' % tag.encode())


def test_registering_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagged, "_encoders", dict(tagged._encoders))
    monkeypatch.setattr(tagged, "_decoders", dict(tagged._decoders))
    tagged.register_type(Point, "point", lambda point: point.x, Point)
    assert tagged.decode(tagged.encode({"at": Point(5)})) == {"at": Point(5)}


def test_registering_a_serializer() -> None:
    serializers.register("shout", lambda value: str(value).upper(), lambda data: data.decode().lower(), "text/shout")
    try:
        data, content_type, content_encoding = serializers.encode("abc", "shout")
        assert (data, content_type, content_encoding) == (b"ABC", "text/shout", "utf-8")
        with pytest.raises(ContentDisallowed, match=r"shout \(text/shout\)"):
            serializers.decode(data, content_type)
        assert serializers.decode(data, content_type, accept=serializers.content_types(["shout"])) == "abc"
        with pytest.raises(DecodeError, match="is no shout"):
            serializers.decode(b"\xff", content_type, accept=frozenset({content_type}))
    finally:
        serializers.unregister("shout")
    with pytest.raises(ImproperlyConfigured):
        serializers.unregister("shout")
    with pytest.raises(ImproperlyConfigured, match=r"there are .*json"):
        serializers.content_types(["shout"])


@pytest.mark.parametrize("name", ["pickle", "msgpack"])
def test_others_there_and_back(name: str) -> None:
    value = {"a": [1, 2.5, "é", None, True, b"\xff"]}
    data, content_type, content_encoding = serializers.encode(value, name)
    assert serializers.decode(data, content_type, content_encoding, frozenset({content_type})) == value


@pytest.mark.parametrize(
    "name, data", [("pickle", b"\xff"), ("pickle", b"\x80\x04\x95"), ("msgpack", b"\xc1"), ("yaml", b"{[")]
)
def test_hostile_bytes_for_others(name: str, data: bytes) -> None:
    accept = serializers.content_types([name])
    with pytest.raises(DecodeError, match=name):
        serializers.decode(data, *accept, accept=accept)


def test_unpicklable() -> None:
    with pytest.raises(EncodeError, match="cannot be written as pickle"):
        serializers.encode(lambda: None, "pickle")


@pytest.mark.parametrize("value", [{1}, object(), datetime(2030, 1, 1), Point(1), 1j], ids=repr)
def test_message_pack_refuses_what_it_has_no_form_for(value: Any) -> None:
    with pytest.raises(EncodeError):
        serializers.encode([value], "msgpack")


def test_text_of_unknown_kind_comes_back_as_text() -> None:
    accept = frozenset({"text/plain"})
    assert serializers.decode("é".encode("latin-1"), "text/plain", "latin-1", accept) == "é"
    assert serializers.decode(b"\xff", "text/plain", "binary", accept) == b"\xff"
    for encoding in ("utf-8", "nonsense", "rot13"):
        with pytest.raises(DecodeError):
            serializers.decode(b"\xff", "text/plain", encoding, accept)


@pytest.mark.parametrize("method", ["gzip", "bzip2", "lzma", "application/x-gzip"])
def test_compression(method: str) -> None:
    packed, content_type = compression.compress(b"abc" * 100, method)
    assert content_type.startswith("application/")
    assert compression.decompress(packed, content_type) == b"abc" * 100
