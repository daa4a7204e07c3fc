"""Our result documents beside those of Celery's real Redis backend: the same fields, read by either side."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

celery = pytest.importorskip("celery")

from celery.backends.redis import RedisBackend  # noqa: E402

from celeriac import errors  # noqa: E402
from celeriac.wire import failure, outcome, serializers  # noqa: E402
from tests.interop.sameness import same  # noqa: E402
from tests.servers import RedisServer  # noqa: E402


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


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")  # Celery's own calls of redis-py
class TestOnRedis:
    """The same once more through the real server."""

    def test_a_result_each_way(self, redis_server: RedisServer) -> None:
        app = celery.Celery("proj", broker="memory://", backend=redis_server.url(2), set_as_current=False)
        try:
            raise Custom("a", 1)
        except Custom as error:
            app.backend.store_result("theirs", error, "FAILURE", traceback="Traceback …", request=request())
        theirs = redis_server.ask("GET", "celery-task-meta-theirs", db=2)
        read = outcome.read(theirs)
        assert (read.status, read.traceback, type(read.exception())) == ("FAILURE", "Traceback …", Custom)
        ours = outcome.document("theirs", "FAILURE", Custom("a", 1), traceback="Traceback …", date_done=DONE)
        assert_same_document(ours, json.loads(theirs))
        redis_server.ask("SET", "celery-task-meta-ours", ours.replace(b'"theirs"', b'"ours"'), db=2)
        result = app.AsyncResult("ours")
        with pytest.raises(Custom):
            result.get(timeout=10)
        assert result.traceback == "Traceback …"
        assert result.date_done == DONE
        app.backend.client.close()
