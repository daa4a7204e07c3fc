"""Task messages: what is built, what is read, and what is refused with which words."""

from __future__ import annotations

import pickle
import zlib
from collections import OrderedDict
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celeriac.errors import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured, InvalidTaskError
from celeriac.wire import protocol1, protocol2, serializers
from celeriac.wire.message import Message


def message(body: bytes, headers: dict[str, Any] | None = None, content_type: str = "application/json") -> Message:
    return Message({"task": "t", "id": "i"} if headers is None else headers, body, {}, content_type)


class TestBody:
    def test_there_and_back(self) -> None:
        body, content_type, content_encoding = protocol2.body(
            (1, "é"), {"a": None}, protocol2.embed(chain=[{"task": "t"}])
        )
        assert (content_type, content_encoding) == ("application/json", "utf-8")
        args, kwargs, following = protocol2.read_body(message(body))
        assert (args, kwargs) == ([1, "é"], {"a": None})
        assert following == {"callbacks": None, "errbacks": None, "chain": [{"task": "t"}], "chord": None}
        assert list(following) == ["callbacks", "errbacks", "chain", "chord"]

    @pytest.mark.parametrize("args, kwargs", [(None, None), ((), {}), ([], OrderedDict()), ((), MappingProxyType({}))])
    def test_nothing(self, args: Any, kwargs: Any) -> None:
        body, _, _ = protocol2.body(args, kwargs)
        assert protocol2.read_body(message(body))[:2] == ([], {})

    def test_a_mapping_that_is_no_dict(self) -> None:
        body, _, _ = protocol2.body((), MappingProxyType({"a": 1}))
        assert protocol2.read_body(message(body))[1] == {"a": 1}

    @pytest.mark.parametrize("args", ["abc", {1}, 5, {"a": 1}, iter([1])], ids=repr)
    def test_args_of_the_wrong_kind_in_celerys_words(self, args: Any) -> None:
        with pytest.raises(TypeError, match="task args must be a list or tuple"):
            protocol2.body(args, {})

    def test_kwargs_of_the_wrong_kind_in_celerys_words(self) -> None:
        with pytest.raises(TypeError, match="task keyword arguments must be a mapping"):
            protocol2.body((), [("a", 1)])  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "args, kwargs, text",
        [
            ((1, {"x": object()}), {}, r"^args\[1\]\['x'\]: object of type object is not JSON serializable$"),
            ((), {"y": [1, {2}]}, r"^kwargs\['y'\]\[1\]: object of type set "),
            (({(1, 2): 3},), {}, r"^args\[0\]: a key of type tuple \(\(1, 2\)\)"),
            ((10**5000,), {}, "4300"),
        ],
    )
    def test_the_place_that_cannot_be_written_is_named(self, args: Any, kwargs: Any, text: str) -> None:
        with pytest.raises(EncodeError, match=text):
            protocol2.body(args, kwargs)

    def test_a_value_within_itself(self) -> None:
        value: list[Any] = []
        value.append(value)
        with pytest.raises(EncodeError, match="contains itself"):
            protocol2.body((value,), {})

    def test_a_value_nested_too_deeply(self) -> None:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        with pytest.raises(EncodeError, match="nested too deeply"):
            protocol2.body((value,), {})

    def test_an_object_whose_reduction_fails(self) -> None:
        class Hostile:
            def __json__(self) -> Any:
                raise KeyError("gone")

        with pytest.raises(EncodeError, match=r"args\[0\]: 'gone'"):
            protocol2.body((Hostile(),), {})

    def test_an_unknown_serializer(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="No encoder/decoder installed for jsn"):
            protocol2.body((), {}, None, "jsn")


class TestBuild:
    def test_everything(self) -> None:
        at = datetime(2030, 1, 1, tzinfo=UTC)
        built = protocol2.build(
            "t",
            "i",
            b"[]",
            eta=at,
            expires="2031-01-01T00:00:00+00:00",
            timelimit=(3, 2.5),
            priority=4,
            expiration=1.5,
            headers={"mine": 1, "shadow": "user"},
            properties={"user_id": "me"},
            compression="gzip",
        )
        assert built.headers["eta"] == "2030-01-01T00:00:00+00:00"
        assert built.headers["expires"] == "2031-01-01T00:00:00+00:00"
        assert built.headers["timelimit"] == [3, 2.5]
        assert built.headers["root_id"] == "i"
        assert (built.headers["mine"], built.headers["shadow"]) == (1, "user")
        assert built.headers["compression"] == "application/x-gzip"
        assert zlib.decompress(built.body) == b"[]"
        assert built.properties["priority"] == 4
        assert built.properties["expiration"] == "1500"
        assert built.properties["user_id"] == "me"

    def test_a_header_that_cannot_travel_is_refused_at_once(self) -> None:
        with pytest.raises(EncodeError, match=r"^headers\['mine'\]: object of type object"):
            protocol2.build("t", "i", b"[]", headers={"mine": object()})
        with pytest.raises(EncodeError, match=r"^stamps\['s'\]: object of type set"):
            protocol2.build("t", "i", b"[]", stamps={"s": {1}}, stamped_headers=["s"])

    def test_an_unknown_compression(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="zip2"):
            protocol2.build("t", "i", b"[]", compression="zip2")


class TestReading:
    @pytest.mark.parametrize(
        "body, text",
        [
            (b"[]", "not \\[args, kwargs, embed\\]"),
            (b"{}", "not \\[args, kwargs, embed\\]"),
            (b'"abc"', "not \\[args, kwargs, embed\\]"),
            (b"[1, {}, {}]", "args are int"),
            (b'["ab", {}, {}]', "args are str"),
            (b"[[], [], {}]", "Task keyword arguments must be a mapping"),
            (b"[[], {}, []]", "embed"),
            (b"[[], {}, 5]", "embed is int"),
            (b"[[], {}, {}, {}]", "not \\[args"),
            (b"", "not|JSON"),
        ],
    )
    def test_what_is_no_call(self, body: bytes, text: str) -> None:
        with pytest.raises((InvalidTaskError, DecodeError), match=text):
            protocol2.read_body(message(body))

    @pytest.mark.parametrize("body", [b"[[", b"\xff", b"[" * 100_000, b'{"__type__": "x", "__value__": 1}'])
    def test_what_does_not_decode(self, body: bytes) -> None:
        with pytest.raises(DecodeError, match=r"^body "):
            protocol2.read_body(message(body))

    @pytest.mark.parametrize("method", ["gzip", "application/x-gzip", "nonsense", 5, ["gzip"], {"a": 1}])
    def test_what_is_not_compressed_as_it_says(self, method: Any) -> None:
        with pytest.raises(DecodeError, match=r"^body is"):
            protocol2.read_body(message(b"[]", {"task": "t", "id": "i", "compression": method}))

    @pytest.mark.parametrize("following", [b"null", b"{}", b'{"chord": null}'])
    def test_other_clients_leave_out_what_does_not_follow(self, following: bytes) -> None:
        _, _, read = protocol2.read_body(message(b"[[], {}, %s]" % following))
        assert read == protocol2.embed()

    def test_content_that_is_not_accepted(self) -> None:
        body, content_type, _ = protocol2.body((1,), {}, None, "pickle")
        with pytest.raises(
            ContentDisallowed, match=r"pickle \(application/x-python-serialize\).*'pickle'.*accept_content"
        ):
            protocol2.read_body(message(body, None, content_type))
        accept = serializers.content_types(["json", "pickle"])
        args, kwargs, _ = protocol2.read_body(message(body, None, content_type), accept)
        assert (args, kwargs) == ([1], {})

    def test_pickle_is_not_touched_before_it_is_accepted(self) -> None:
        class Bomb:
            def __reduce__(self) -> Any:
                return exec, ("raise SystemExit",)

        with pytest.raises(ContentDisallowed):
            protocol2.read_body(message(pickle.dumps(Bomb()), None, "application/x-python-serialize"))

    def test_unknown_content_and_raw_data(self) -> None:
        with pytest.raises(ContentDisallowed, match="text/plain"):
            protocol2.read_body(message(b"x", None, "text/plain"))
        with pytest.raises(InvalidTaskError):
            protocol2.read_body(message(b"x", None, "application/data"))

    @given(st.binary(max_size=80))
    def test_bytes_of_any_kind(self, body: bytes) -> None:
        with pytest.raises((DecodeError, InvalidTaskError)):
            protocol2.read_body(message(body))


WRONG: list[tuple[str, Any]] = [
    ("retries", "1"),
    ("retries", [1]),
    ("eta", 5),
    ("expires", {"a": 1}),
    ("root_id", 5),
    ("parent_id", ["a"]),
    ("group", {}),
    ("shadow", 1),
    ("timelimit", 5),
    ("timelimit", [1]),
    ("timelimit", ["1", None]),
    ("timelimit", {"hard": 1, "soft": 2}),
]


class TestIdentity:
    def test_found(self) -> None:
        assert protocol2.identify(message(b"")) == ("t", "i")

    @pytest.mark.parametrize(
        "headers, missing",
        [({}, "task"), ({"task": "t"}, "id"), ({"id": "i"}, "task"), ({"task": 5, "id": "i"}, "task")]
        + [({"task": "t", "id": "i", name: value}, name) for name, value in WRONG]
        + [({"task": "t", "id": None}, "id"), ({"task": "t", "id": ""}, "id"), ({"task": ["t"], "id": {}}, "task")],
    )
    def test_missing(self, headers: dict[str, Any], missing: str) -> None:
        with pytest.raises(InvalidTaskError, match=f"'{missing}'"):
            protocol2.identify(message(b"", headers))


class TestProtocol1:
    BODY = b'{"task": "t", "id": "i", "args": [1], "kwargs": {"a": 2}, "retries": 1, "taskset": "g", "utc": false}'

    def test_becomes_protocol_2(self) -> None:
        old = message(self.BODY, {})
        assert not protocol2.is_protocol2(old)
        new = protocol1.to_protocol2(old)
        assert protocol2.is_protocol2(new)
        assert protocol2.identify(new) == ("t", "i")
        assert protocol2.read_body(new)[:2] == ([1], {"a": 2})
        assert new.headers["argsrepr"] == "[1]"
        assert (new.headers["retries"], new.headers["group"], new.headers["utc"]) == (1, "g", False)

    def test_compressed(self) -> None:
        new = protocol1.to_protocol2(message(zlib.compress(self.BODY), {"compression": "gzip", "mine": 1}))
        assert protocol2.read_body(new)[0] == [1]
        assert new.headers["mine"] == 1

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b"{}",
            b'{"task": "t"}',
            b'{"task": 5, "id": "i"}',
            b'{"task": "t", "id": "i", "args": 5}',
            b'{"task": "t", "id": "i", "args": {"a": 1}}',
            b'{"task": "t", "id": "i", "kwargs": [1]}',
            b"nonsense",
            b"[" * 100_000,
        ],
        ids=lambda body: repr(body)[:30],
    )
    def test_what_is_no_call(self, body: bytes) -> None:
        with pytest.raises((InvalidTaskError, DecodeError)):
            protocol1.to_protocol2(message(body, {}))
