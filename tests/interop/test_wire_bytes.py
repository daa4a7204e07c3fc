"""Our messages beside those of real kombu and Celery: what a stock peer reads is equal in value and in type."""

from __future__ import annotations

import base64
import json
import string
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

celery = pytest.importorskip("celery")

from celery.utils.saferepr import saferepr  # noqa: E402
from celery.utils.time import maybe_iso8601  # noqa: E402
from kombu import Connection  # noqa: E402
from kombu.transport import memory as kombu_memory  # noqa: E402
from kombu.utils import json as kombu_json  # noqa: E402

from celeriac import errors  # noqa: E402
from celeriac.foundation import dates  # noqa: E402
from celeriac.wire import envelope, protocol1, protocol2, serializers  # noqa: E402
from celeriac.wire.message import Message  # noqa: E402
from celeriac.wire.representation import represent  # noqa: E402
from celeriac.wire.serializers import tagged  # noqa: E402
from tests.interop.sameness import same  # noqa: E402
from tests.servers import RedisServer  # noqa: E402

GENEROUS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# -- values ------------------------------------------------------------------------------------------------------------

_offsets = st.none() | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_texts = st.text(alphabet=st.characters(codec=None), max_size=20)  # surrogates too
_atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | _texts
    | st.sampled_from(["__type__", "__value__", "\\u005f", "\u2028", "\x7f", "é漢😀"])
)
_tagged = (
    st.datetimes(timezones=_offsets)
    | st.dates()
    | st.times()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=30)
)
_keys = _texts.filter(lambda key: key not in ("__type__", "__value__"))


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_keys, inner, max_size=5),
        max_leaves=20,
    )


VALUES = _nested(_atoms | _tagged)


class TestTaggedJson:
    @GENEROUS
    @given(VALUES)
    def test_kombu_reads_what_we_write(self, value: Any) -> None:
        assert same(kombu_json.loads(tagged.encode(value)), value)

    @GENEROUS
    @given(VALUES)
    def test_we_read_what_kombu_writes(self, value: Any) -> None:
        assert same(tagged.decode(kombu_json.dumps(value).encode()), value)

    @GENEROUS
    @given(VALUES)
    def test_the_exact_encoder_writes_the_same_text_as_kombu(self, value: Any) -> None:
        assert tagged.encode_exactly(value).decode() == kombu_json.dumps(value)

    @GENEROUS
    @given(
        st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789eE+-.truefalsn\\u_ ', max_size=40).map(str.encode)
    )
    def test_bytes_of_any_kind_are_read_or_refused_as_by_kombu(self, data: bytes) -> None:
        try:
            expected = kombu_json.loads(data)
        except Exception:
            with pytest.raises(errors.DecodeError):
                tagged.decode(data)
        else:
            got = tagged.decode(data)
            assert same(got, expected) or repr(got) == repr(expected)  # NaN is not equal to itself

    @pytest.mark.parametrize(
        "value",
        [
            float("nan"),
            float("inf"),
            (1, 2),
            {1: "a", None: "b", False: "c", 1.5: "d"},
            {"__type__": "datetime"},
            {"__type__": "x", "__value__": 1, "more": 2},
            type("Text", (str,), {})("a"),
            type("Number", (int,), {})(5),
            type("Reduced", (), {"__json__": lambda self: ["as", "this"]})(),
        ],
        ids=repr,
    )
    def test_oddities(self, value: Any) -> None:
        text = kombu_json.dumps(value)
        assert tagged.encode_exactly(value).decode() == text
        assert repr(tagged.decode(tagged.encode(value))) == repr(kombu_json.loads(text))

    @pytest.mark.parametrize(
        "value", [{1, 2}, frozenset(), timedelta(1), object(), 1j, bytearray(b"a"), {(1,): 2}, [{"a": {1}}]], ids=repr
    )
    def test_what_kombu_refuses_we_refuse(self, value: Any) -> None:
        with pytest.raises(TypeError):
            kombu_json.dumps(value)
        with pytest.raises(errors.EncodeError):
            tagged.encode(value)

    @pytest.mark.parametrize("name", ["json", "pickle", "msgpack", "yaml"])
    def test_content_types_are_kombus(self, name: str) -> None:
        from kombu.serialization import registry

        (content_type,) = serializers.content_types([name])
        assert content_type == registry.name_to_type[name]
        assert serializers.name_of(content_type) == name


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app() -> Any:
    app = celery.Celery("proj", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="proj.add")
    def add(*x: Any, y: Any = None) -> Any:
        return x

    return app


@pytest.fixture
def published(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The envelopes that Celery publishes, as the bytes that kombu's Redis transport would push."""
    payloads: list[bytes] = []
    monkeypatch.setattr(
        kombu_memory.Channel,
        "_put",
        lambda self, queue, message, **_: payloads.append(kombu_json.dumps(message).encode()),
    )
    return payloads


CALLS: dict[str, dict[str, Any]] = {
    "plain": {"args": (1, "é"), "kwargs": {"y": [1.5, None]}},
    "nothing": {},
    "tags": {"args": (datetime(2030, 1, 1, tzinfo=UTC), UUID(int=5), b"\xff", Decimal("1.10"), date(2030, 1, 1))},
    "delayed": {"args": (1,), "eta": datetime(2030, 1, 1, 12, 0, 0, 5, tzinfo=UTC), "priority": 3},
    "expiring": {"args": (1,), "expires": datetime(2100, 1, 1, tzinfo=UTC)},
    "limits": {"args": (1,), "time_limit": 3.5, "soft_time_limit": 2, "retries": 4, "shadow": "other"},
    "grouped": {"args": (1,), "group_id": "g", "group_index": 2, "root_id": "r", "parent_id": "p"},
    "headers": {"args": (1,), "headers": {"mine": "é", "when": datetime(2030, 1, 1)}, "reply_to": "me"},
    "linked": {"args": (1,), "link": [{"task": "proj.add", "args": [3], "kwargs": {}, "options": {}}]},
    "compressed": {"args": ("x" * 5000,), "compression": "gzip"},
    "ignored": {"args": (1,), "ignore_result": True},
}


class TestMessages:
    @pytest.mark.parametrize("name", CALLS)
    def test_the_envelope_built_from_what_celery_sent_is_celerys(
        self, app: Any, published: list[bytes], name: str
    ) -> None:
        app.tasks["proj.add"].apply_async(**CALLS[name])
        (theirs,) = published
        message = envelope.decode(theirs)
        rebuilt = rebuild(message)
        ours = envelope.encode(rebuilt, "celery", message.properties["delivery_tag"])
        assert_same_envelope(ours, theirs)

    @pytest.mark.parametrize("name", CALLS)
    def test_kombu_reads_ours_as_its_own(self, app: Any, published: list[bytes], name: str) -> None:
        app.tasks["proj.add"].apply_async(**CALLS[name])
        message = envelope.decode(published[0])
        ours = envelope.encode(rebuild(message), "celery", "tag")
        with Connection("memory://") as connection:
            channel = connection.channel()
            accept = {"application/json"}
            theirs = channel.message_to_python(kombu_json.loads(published[0]))
            read = channel.message_to_python(kombu_json.loads(ours))
            theirs.accept = read.accept = accept
            assert same(read.payload, theirs.payload)
            assert read.headers == theirs.headers
            assert (read.content_type, read.content_encoding) == (theirs.content_type, theirs.content_encoding)
            args, kwargs, following = protocol2.read_body(message)
            assert same([args, kwargs, following], read.payload)

    def test_headers_and_their_order(self, app: Any, published: list[bytes]) -> None:
        app.tasks["proj.add"].delay(1)
        theirs = json.loads(published[0])
        ours = json.loads(envelope.encode(protocol2.build("proj.add", "id", b"[]"), "celery", "tag"))
        assert list(ours) == list(theirs)
        assert list(ours["headers"]) == list(theirs["headers"])
        assert set(ours["properties"]) == set(theirs["properties"])

    def test_a_body_that_is_not_base64(self, published: list[bytes]) -> None:
        with Connection("memory://") as connection:
            channel = connection.channel()
            channel.body_encoding = None
            message = channel.prepare_message('[[1], {}, {"chord": null}]', 0, "application/json", "utf-8", {}, {})
            channel.basic_publish(message, "", "celery")
        assert envelope.decode(published[0]).body == b'[[1], {}, {"chord": null}]'

    def test_protocol_1(self, app: Any, published: list[bytes]) -> None:
        now = datetime(2030, 1, 1, tzinfo=UTC)
        sent = app.amqp.as_task_v1(
            "id",
            "proj.add",
            (1, now),
            {"y": 2},
            eta=now,
            retries=2,
            group_id="g",
            time_limit=3,
            callbacks=[{"task": "t"}],
        )
        with app.producer_pool.acquire() as producer:
            producer.publish(
                sent.body, routing_key="celery", serializer="json", headers=sent.headers, **sent.properties
            )
        message = envelope.decode(published[0])
        assert not protocol2.is_protocol2(message)
        converted = protocol1.to_protocol2(message)
        assert protocol2.identify(converted) == ("proj.add", "id")
        args, kwargs, following = protocol2.read_body(converted)
        assert (args, kwargs, following["callbacks"]) == ([1, now], {"y": 2}, [{"task": "t"}])
        headers = converted.headers
        assert (headers["retries"], headers["group"], headers["timelimit"]) == (2, "g", [3, None])
        assert dates.parse(headers["eta"]) == now
        assert "utc" not in headers or headers["utc"] is not False


def rebuild(message: Message) -> Message:
    """The message that `build` makes of the same facts, the body decoded and encoded anew."""
    headers, properties = message.headers, message.properties
    known = {
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "root_id": headers["root_id"],
        "parent_id": headers["parent_id"],
        "group": headers["group"],
        "group_index": headers["group_index"],
        "retries": headers["retries"],
        "eta": maybe_iso8601(headers["eta"]),
        "expires": maybe_iso8601(headers["expires"]),
        "timelimit": tuple(headers["timelimit"]),
        "origin": headers["origin"],
        "ignore_result": headers["ignore_result"],
        "shadow": headers["shadow"],
        "reply_to": properties["reply_to"],
        "priority": properties["priority"],
        "stamped_headers": headers["stamped_headers"],
        "stamps": headers["stamps"],
        "compression": headers.get("compression"),
        "properties": {"expiration": properties["expiration"]} if "expiration" in properties else None,
        "headers": {name: headers[name] for name in ("mine", "when") if name in headers},
    }
    args, kwargs, following = protocol2.read_body(message)
    body, _, _ = protocol2.body(args, kwargs, following)
    return protocol2.build(
        headers["task"],
        headers["id"],
        body,
        argsrepr=represent(tuple(args)) if args else represent(()),
        kwargsrepr=represent(kwargs),
        **known,
    )


def assert_same_envelope(ours: bytes, theirs: bytes) -> None:
    """Field by field; bodies by value (spaces and escapes in JSON say nothing)."""
    one, other = json.loads(ours), json.loads(theirs)
    bodies = [base64.b64decode(fields.pop("body")) for fields in (one, other)]
    if "compression" in one["headers"]:
        from kombu.compression import decompress

        bodies = [decompress(body, one["headers"]["compression"]) for body in bodies]
    assert same(json.loads(bodies[0]), json.loads(bodies[1]))
    assert one["headers"] == other["headers"]
    assert one["properties"] == other["properties"]
    assert one == other


# -- argsrepr ----------------------------------------------------------------------------------------------------------

_shown = _nested(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60) | st.binary(max_size=60) | _tagged
)
_shown |= st.lists(_shown, max_size=4).map(tuple)
_shown |= st.sets(st.integers(), max_size=4) | st.frozensets(st.text(alphabet=string.printable, max_size=5), max_size=3)


class TestRepresentation:
    @GENEROUS
    @given(_shown, st.integers(1, 200), st.integers(0, 4))
    def test_character_for_character(self, value: Any, most: int, levels: int) -> None:
        assert represent(value, most, levels) == saferepr(value, most, levels)

    @pytest.mark.parametrize("size", [0, 1, 30, 200, 300, 340, 341, 342, 343, 500])
    def test_around_the_limit(self, size: int) -> None:
        for value in [list(range(size)), ("x" * size, "y y" * size), {"k" * size: "it's" * size}, [[[[1]]]] * size]:
            assert represent(value) == saferepr(value, 1024)

    def test_a_value_within_itself(self) -> None:
        value: list[Any] = [1]
        value.append(value)
        assert represent(value) == saferepr(value, 1024)


@pytest.mark.parametrize(
    "text",
    ["2030-01-01T00:00:00", "2030-01-01T00:00:00.5+02:00", "2030-01-01T00:00:00Z", "2030-01", "2030", "20300101T1010"]
    + ["2030-01-01T24:00", "2030-01-01", "2030-W01-1"],
)
def test_instants_are_read_as_celery_reads_them(text: str) -> None:
    assert dates.parse(text) == maybe_iso8601(text)


DONE = datetime(2030, 1, 1, 1, 2, 3, 4, tzinfo=UTC)


class TestOnRedis:
    """The same once more through kombu's real Redis transport."""

    def test_a_message_each_way(self, redis_server: RedisServer) -> None:
        app = celery.Celery("proj", broker=redis_server.url(1), set_as_current=False)
        with app.connection_for_write() as connection:
            app.send_task("proj.add", (1, DONE), {"y": "é"}, connection=connection, countdown=60, priority=0)
            (theirs,) = redis_server.ask("LRANGE", "celery", 0, -1, db=1)
            message = envelope.decode(theirs)
            ours = envelope.encode(rebuild(message), "celery", message.properties["delivery_tag"])
            assert_same_envelope(ours, theirs)
            redis_server.ask("DEL", "celery", db=1)
            redis_server.ask("LPUSH", "celery", ours, db=1)
            received = connection.SimpleQueue("celery", no_ack=True).get(block=True, timeout=10)
            received.accept = {"application/json"}
            assert received.payload[:2] == [[1, DONE], {"y": "é"}]
            assert received.headers == message.headers
