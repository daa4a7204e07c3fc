"""Our bytes beside those of real kombu and Celery: what a stock peer reads is equal in value and in type."""

from __future__ import annotations

import base64
import json
import string
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

celery = pytest.importorskip("celery")

from celery.backends.redis import RedisBackend  # noqa: E402
from celery.utils.saferepr import saferepr  # noqa: E402
from celery.utils.time import maybe_iso8601  # noqa: E402
from kombu import Connection  # noqa: E402
from kombu.transport import memory as kombu_memory  # noqa: E402
from kombu.utils import json as kombu_json  # noqa: E402

from celeriac import errors  # noqa: E402
from celeriac.foundation import dates  # noqa: E402
from celeriac.wire import envelope, failure, outcome, protocol1, protocol2, serializers  # noqa: E402
from celeriac.wire.message import Message  # noqa: E402
from celeriac.wire.representation import represent  # noqa: E402
from celeriac.wire.serializers import tagged  # noqa: E402

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


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types all the way down, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, datetime | time):
        return bool(one == other and one.isoformat() == other.isoformat())
    return repr(one) == repr(other) if isinstance(one, float | Decimal) else bool(one == other)


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


# -- results -----------------------------------------------------------------------------------------------------------


class Stored:
    """A real RedisBackend whose server is a dict: what it would have set, and what it reads."""

    def __init__(self, **config: Any) -> None:
        self.app = celery.Celery("results", broker="memory://", set_as_current=False)
        self.app.conf.update(config)
        self.backend = RedisBackend(app=self.app, url="redis://127.0.0.1:1/0")
        self.keys: dict[Any, Any] = {}
        self.backend.get = self.keys.get
        self.backend.set = lambda key, value, **_: self.keys.__setitem__(key, value)
        self.backend.on_state_change = lambda *_: None

    def put(self, task_id: str, result: Any, state: str, **options: Any) -> dict[str, Any]:
        self.backend.store_result(task_id, result, state, **options)
        fields: dict[str, Any] = json.loads(self.keys[self.backend.get_key_for_task(task_id)])
        return fields

    def read(self, task_id: str, document: bytes) -> dict[str, Any]:
        self.keys[self.backend.get_key_for_task(task_id)] = document
        fields: dict[str, Any] = self.backend.get_task_meta(task_id, cache=False)
        return fields


def request(**fields: Any) -> Any:
    from celery.app.task import Context

    return Context({"id": "id", "task": "proj.add", **fields})


def assert_same_document(ours: bytes, theirs: dict[str, Any]) -> None:
    fields = json.loads(ours)
    done, expected = fields.pop("date_done"), theirs.pop("date_done")
    assert (done is None) == (expected is None)
    assert fields == theirs
    assert list(fields) == list(theirs)


DONE = datetime(2030, 1, 1, 1, 2, 3, 4, tzinfo=UTC)


class Custom(Exception):
    pass


class TestDocuments:
    @pytest.mark.parametrize("value", [None, 5, "é", [1, {"a": 2.5}], datetime(2030, 1, 1), b"\xff"], ids=repr)
    def test_success(self, value: Any) -> None:
        theirs = Stored().put("id", value, "SUCCESS", request=request())
        assert_same_document(outcome.document("id", "SUCCESS", value, date_done=DONE), theirs)

    def test_of_a_group_and_a_parent_with_children(self) -> None:
        child = celery.result.AsyncResult("child", parent=celery.result.AsyncResult("id"))
        context = request(group="g", parent_id="p", _children=[child])
        theirs = Stored().put("id", 1, "SUCCESS", request=context)
        ours = outcome.document(
            "id", "SUCCESS", 1, date_done=DONE, group_id="g", parent_id="p", children=[child.as_tuple()]
        )
        assert_same_document(ours, theirs)

    @pytest.mark.parametrize("state", ["FAILURE", "RETRY", "REVOKED"])
    @pytest.mark.parametrize(
        "error",
        [
            ValueError("é", 5),
            KeyError(("a", 1)),
            Custom({"a": datetime(2030, 1, 1)}, b"x"),
            Custom({1, 2}, object),
            celery.exceptions.TaskRevokedError("expired"),
        ],
        ids=repr,
    )
    def test_exceptions(self, state: str, error: BaseException) -> None:
        theirs = Stored().put("id", error, state, traceback="Traceback …", request=request())
        ours = outcome.document("id", state, error, traceback="Traceback …", date_done=DONE)
        assert_same_document(ours, theirs)

    def test_states_on_the_way(self) -> None:
        theirs = Stored().put("id", {"done": 5}, "PROGRESS", request=request())
        assert_same_document(outcome.document("id", "PROGRESS", {"done": 5}, date_done=DONE), theirs)
        theirs = Stored().put("id", {"pid": 5, "hostname": "h"}, "STARTED")
        ours = outcome.document("id", "STARTED", {"pid": 5, "hostname": "h"}, children=None)
        assert_same_document(ours, theirs)

    def test_extended(self) -> None:
        context = request(
            args=[1, DONE],
            kwargs={"y": 2},
            hostname="w@h",
            retries=2,
            delivery_info={"routing_key": "q"},
            stamped_headers=["stamp"],
            stamps={"stamp": ["v"]},
        )
        theirs = Stored(result_extended=True).put("id", 1, "SUCCESS", request=context)
        extended = {
            "name": "proj.add",
            "args": [1, DONE],
            "kwargs": {"y": 2},
            "worker": "w@h",
            "retries": 2,
            "queue": "q",
            "stamped_headers": ["stamp"],
            "stamp": ["v"],
        }
        assert_same_document(outcome.document("id", "SUCCESS", 1, date_done=DONE, extended=extended), theirs)

    def test_date_done_is_text_as_celery_writes_it(self) -> None:
        stored = Stored()
        stored.app.now = lambda: DONE
        assert stored.put("id", 1, "SUCCESS")["date_done"] == DONE.isoformat()
        assert json.loads(outcome.document("id", "SUCCESS", 1, date_done=DONE))["date_done"] == DONE.isoformat()

    @pytest.mark.parametrize("compression", [None, "gzip", "bzip2"])
    def test_celery_reads_ours(self, compression: str | None) -> None:
        value = {"a": [1, "é", datetime(2030, 1, 1, tzinfo=UTC), uuid4(), b"\xff", Decimal("1.1")]}
        ours = outcome.document("id", "SUCCESS", value, date_done=DONE, compression=compression)
        assert same(Stored().read("id", ours)["result"], value)

    @pytest.mark.parametrize("compression", [None, "gzip", "lzma"])
    def test_we_read_celerys(self, compression: str | None) -> None:
        stored = Stored(result_compression=compression)
        stored.backend.store_result("id", [1, DONE], "SUCCESS", request=request(group="g"))
        (document,) = stored.keys.values()
        read = outcome.read(document if isinstance(document, bytes) else document.encode())
        assert (read.task_id, read.status, read.result, read.group_id) == ("id", "SUCCESS", [1, DONE], "g")

    @pytest.mark.parametrize("value", [1, [DONE]])
    def test_pickle(self, value: Any) -> None:
        stored = Stored(result_serializer="pickle", accept_content=["pickle"])
        stored.backend.store_result("id", value, "SUCCESS", request=request())
        (document,) = stored.keys.values()
        accept = serializers.content_types(["pickle"])
        assert outcome.read(document, accept, serializer="pickle").result == value
        ours = outcome.document("id", "SUCCESS", value, date_done=DONE, serializer="pickle")
        assert stored.read("id", ours)["result"] == value


class TestFailures:
    @pytest.mark.parametrize(
        "name",
        [
            "MaxRetriesExceededError",
            "TaskRevokedError",
            "NotRegistered",
            "InvalidTaskError",
            "WorkerLostError",
            "TimeoutError",
            "ImproperlyConfigured",
            "OperationalError",
            "CeleryError",
            "Reject",
            "Ignore",
            "AlreadyRegistered",
            "BackendError",
            "TaskError",
            "SecurityError",
        ],
    )
    def test_celery_rebuilds_its_own_type_of_ours(self, name: str) -> None:
        ours = getattr(errors, name)("because")
        document = outcome.document("id", "FAILURE", ours, date_done=DONE)
        rebuilt = Stored().read("id", document)["result"]
        assert type(rebuilt) is getattr(celery.exceptions, name)

    @pytest.mark.parametrize("name", ["EncodeError", "DecodeError", "ContentDisallowed"])
    def test_and_kombu_its_own(self, name: str) -> None:
        import kombu.exceptions

        document = outcome.document("id", "FAILURE", getattr(errors, name)("because"), date_done=DONE)
        rebuilt = Stored().read("id", document)["result"]
        assert type(rebuilt) is getattr(kombu.exceptions, name)
        assert rebuilt.args == ("because",)

    def test_every_exception_of_ours_is_somewhere_in_celerys_world_or_ours_alone(self) -> None:
        import importlib

        for name in errors.__all__:
            kind = getattr(errors, name)
            stored = failure.to_wire(kind.__new__(kind))
            if stored["exc_module"] != errors.__name__:
                assert hasattr(importlib.import_module(stored["exc_module"]), stored["exc_type"])
            else:
                assert not hasattr(celery.exceptions, name)

    @pytest.mark.parametrize("error", [celery.exceptions.NotRegistered("x"), celery.exceptions.TimeoutError("x")])
    def test_celerys_become_ours(self, error: BaseException) -> None:
        stored = Stored()
        stored.backend.store_result("id", error, "FAILURE")
        (document,) = stored.keys.values()
        rebuilt = outcome.read(document.encode()).exception()
        assert type(rebuilt) is getattr(errors, type(error).__name__)
        assert rebuilt.args == error.args

    def test_an_exception_of_the_user_goes_through_both(self) -> None:
        document = outcome.document("id", "FAILURE", Custom("a", 1), date_done=DONE)
        for rebuilt in (Stored().read("id", document)["result"], outcome.read(document).exception()):
            assert type(rebuilt) is Custom
            assert rebuilt.args == ("a", 1)


@pytest.mark.parametrize(
    "text",
    ["2030-01-01T00:00:00", "2030-01-01T00:00:00.5+02:00", "2030-01-01T00:00:00Z", "2030-01", "2030", "20300101T1010"]
    + ["2030-01-01T24:00", "2030-01-01", "2030-W01-1"],
)
def test_instants_are_read_as_celery_reads_them(text: str) -> None:
    assert dates.parse(text) == maybe_iso8601(text)
