"""Envelopes: both ways, and whatever else may lie in a queue."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import DecodeError, EncodeError
from celeriac.wire import envelope, protocol2
from celeriac.wire.message import Message

MESSAGE = protocol2.build("proj.add", "id", b'[[1],{},{"chord":null}]', origin="me")


def test_there_and_back() -> None:
    read = envelope.decode(envelope.encode(MESSAGE, "celery", "tag"))
    assert read.headers == MESSAGE.headers
    assert read.body == MESSAGE.body
    assert read.properties == {
        **MESSAGE.properties,
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "delivery_tag": "tag",
    }
    assert (read.content_type, read.content_encoding) == ("application/json", "utf-8")


@given(st.binary(max_size=200))
def test_any_body_survives(body: bytes) -> None:
    message = Message({}, body, {})
    assert envelope.decode(envelope.encode(message, "q", "tag")).body == body


def test_a_message_read_may_be_sent_on() -> None:
    read = envelope.decode(envelope.encode(MESSAGE, "one", "tag", exchange="x"))
    again = json.loads(envelope.encode(read, "two", "other"))
    assert again["properties"]["delivery_info"] == {"exchange": "", "routing_key": "two"}
    assert again["properties"]["delivery_tag"] == "other"
    assert again["properties"]["body_encoding"] == "base64"
    assert read.properties["delivery_tag"] == "tag"  # what was read is not changed by it


@pytest.mark.parametrize(
    "value", [datetime(2030, 1, 1), b"\xff", float("inf"), "\ud800", {"a": [datetime(2030, 1, 1)]}], ids=repr
)
def test_headers_may_hold_what_kombu_can_carry(value: Any) -> None:
    message = Message({"mine": value}, b"x", {"also": value})
    read = envelope.decode(envelope.encode(message, "q", "tag"))
    assert read.headers["mine"] == value
    assert read.properties["also"] == value
    assert read.body == b"x"


def test_a_header_that_cannot_be_carried_is_named() -> None:
    with pytest.raises(EncodeError, match=r"\['headers'\]\['mine'\]: object of type object"):
        envelope.encode(Message({"mine": object()}, b"", {}), "q", "tag")


def other(**fields: Any) -> bytes:
    base = {"body": "W10=", "properties": {"body_encoding": "base64", "delivery_tag": "t"}, "headers": {}}
    return json.dumps({**base, **fields}).encode()


@pytest.mark.parametrize(
    "payload, body",
    [
        (other(), b"[]"),
        (other(body="[1]", properties={}), b"[1]"),
        (other(body="W10=", properties={}), b"W10="),  # looks like base64, and nobody said that it is
        (other(body="é", properties={"body_encoding": "utf-8"}), "é".encode()),
        (other(body="", properties={"body_encoding": "base64"}), b""),
        (other(body=None), b""),
        (other(body="W1\n0="), b"[]"),  # kombu ignores line ends in base64
        (b'{"body":"W10=","properties":{"body_encoding":"base64"},"headers":{"x":NaN}}', b"[]"),
        (b'{"properties":{},"headers":null}', b""),
        (b"{}", b""),
    ],
    ids=repr,
)
def test_envelopes_of_other_writers(payload: bytes, body: bytes) -> None:
    assert envelope.decode(payload).body == body


def test_missing_content_type_is_raw_data_as_for_kombu() -> None:
    assert envelope.decode(other()).content_type == "application/data"


@pytest.mark.parametrize(
    "payload, text",
    [
        (b"", "JSON"),
        (b"hello", "JSON"),
        (b"\xff\xfe", "JSON"),
        (b"[1, 2]", "an array"),
        (b"null", "null"),
        (b"5", "not an object"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"[" * 100_000, "nested too deeply"),
        (other(headers=[1]), "'headers' is an array"),
        (other(headers="x"), "'headers' is text"),
        (other(properties=5), "'properties'"),
        (other(body={"a": 1}), "'body' is an object"),
        (other(body="W1"), "no base64"),
        (other(properties={"body_encoding": "rot13"}), "rot13"),
        (other(properties={"body_encoding": ["base64"]}), "nobody knows"),
        (other(**{"content-type": 5}), "'content-type'"),
        (other(**{"content-encoding": {}}), "'content-encoding'"),
        (other(headers={"x": {"__type__": "nonsense", "__value__": 1}}), "nonsense"),
        (other(headers={"__type__": "datetime", "__value__": "2030-01-01"}), "'headers'"),
        (other(headers={"x": {"__type__": "datetime", "__value__": 5}}), "JSON"),
        (b'{"headers": {"n": ' + b"9" * 5000 + b"}}", "JSON"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_envelope_is_a_decode_error(payload: bytes, text: str) -> None:
    with pytest.raises(DecodeError, match=text) as caught:
        envelope.decode(payload)
    assert str(caught.value).startswith("envelope")


@given(st.binary(max_size=100))
def test_bytes_of_any_kind(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        envelope.decode(payload)


_names = st.sampled_from(["body_encoding", "__type__", "__value__", "delivery_info", "compression", "task", "id"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | _names, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["body", "headers", "properties", "content-type", "content-encoding"]), _json))
def test_objects_of_any_kind(fields: dict[str, Any]) -> None:
    try:
        message = envelope.decode(json.dumps(fields).encode())
    except DecodeError:
        return
    assert isinstance(message.headers, dict)
    assert isinstance(message.properties, dict)
    assert isinstance(message.body, bytes)
    assert isinstance(message.content_type, str)
    assert isinstance(message.content_encoding, str)


def test_the_body_is_base64_in_the_text() -> None:
    assert json.loads(envelope.encode(MESSAGE, "q", "t"))["body"] == base64.b64encode(MESSAGE.body).decode()
