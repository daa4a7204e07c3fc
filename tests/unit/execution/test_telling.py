"""Task signals beside real Celery, eagerly: the same signals, in the same order, with the same arguments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import celery
import celery.signals
import pytest

import celeriac
from celeriac import signals
from celeriac.brokers.base import Delivery, Settlement
from celeriac.client.current import _finalizers
from celeriac.execution.admission import Admission
from celeriac.execution.records import Records
from celeriac.execution.telling import Consumer
from celeriac.worker.runner.start import _now

NAMES = ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")


class Ears:
    """Connected to all of `names` of a module of signals, ours or Celery's."""

    def __init__(self, module: Any, names: tuple[str, ...] = NAMES) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._module, self._receivers = module, {name: self._receiver(name) for name in names}
        for name, receiver in self._receivers.items():
            getattr(module, name).connect(receiver)

    def _receiver(self, name: str) -> Any:
        return lambda **named: self.heard.append((name, named))

    def shown(self) -> list[Any]:
        return [
            (name, sorted(named), *(repr(named.get(word)) for word in ("args", "kwargs", "retval", "state", "result")))
            for name, named in self.heard
        ]


def play(module: Any, kind: Any) -> list[Any]:
    app = kind("told", broker="memory://", set_as_current=False)

    @app.task(name="told.add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="told.fail", throws=(KeyError,))
    def fail(error: type[BaseException]) -> None:
        raise error("no")

    @app.task(name="told.again", bind=True, max_retries=1)
    def again(self: Any) -> None:
        raise self.retry(countdown=0)

    ears = Ears(module)
    add.apply((1,), {"y": 2})
    fail.apply((ValueError,))
    fail.apply((KeyError,))
    again.apply()
    ((_, first),) = [one for one in ears.heard if one[0] == "task_success"]
    assert first["sender"] is app.tasks["told.add"]
    assert first["runtime"] >= 0
    (failure, *_) = [named for name, named in ears.heard if name == "task_failure"]
    assert isinstance(failure["exception"], ValueError)
    assert failure["traceback"].tb_frame
    assert "ValueError" in str(failure["einfo"].traceback)
    return ears.shown()


def test_what_is_heard_of_runs_is_what_celery_tells() -> None:
    ours, theirs = play(signals, celeriac.Celery), play(celery.signals, celery.Celery)

    # Where a task is retried at once, Celery's eager run is nested in the first one and ours follows it.
    assert [one for one in ours if "Retry" not in str(one)][:6] == [one for one in theirs if "Retry" not in str(one)][
        :6
    ]
    assert sorted(one[:2] for one in ours if one[0] == "task_retry") == sorted(
        one[:2] for one in theirs if one[0] == "task_retry"
    )


@pytest.fixture
def app() -> Iterator[Any]:
    before = dict(_finalizers)
    _finalizers.clear()
    with celeriac.Celery("told", broker=f"memory://{uuid4()}", set_as_current=False) as app:
        app.task(name="told.work")(lambda *args: None)
        yield app
    _finalizers.update(before)


def admit(app: Any, payload: bytes, now: float = 0.0) -> Any:
    consumer = Consumer("here@host", app)
    admission = Admission(
        app.tasks, frozenset({"application/json"}), Records(app, _now), "here@host", consumer=consumer
    )
    return admission.admit(Delivery(1, "celery", payload), now)


def payload_of(app: Any, name: str, **options: Any) -> bytes:
    app.send_task(name, (1,), **options)
    (payload,) = app.broker.peek("celery") + [payload for _, payload in app.broker.delayed("celery")]
    return bytes(payload)


def test_a_message_that_is_to_run_is_received(app: Any) -> None:
    ears = Ears(signals, ("task_received",))
    admit(app, payload_of(app, "told.work", task_id="an-id"))

    ((_, named),) = ears.heard
    request = named["request"]
    assert named["sender"].hostname == "here@host"
    assert named["sender"].app is app
    assert (request.id, request.name, request.task, request.args) == ("an-id", "told.work", app.tasks["told.work"], [1])


def test_a_message_that_expired_is_revoked(app: Any) -> None:
    ears = Ears(signals, ("task_revoked", "task_received"))
    admit(app, payload_of(app, "told.work", expires=60), now=4e9)

    ((name, named),) = ears.heard
    assert name == "task_revoked"
    assert named["sender"] is app.tasks["told.work"]
    assert (named["expired"], named["terminated"], named["signum"]) == (True, False, None)
    assert named["request"].args == [1]


def test_a_message_that_cannot_run_is_unknown_or_rejected(app: Any) -> None:
    ears = Ears(signals, ("task_unknown", "task_rejected"))
    admit(app, payload_of(app, "nobody.knows", task_id="an-id"))
    admit(app, b"nonsense")

    (first, unknown), (second, rejected) = ears.heard
    assert (first, unknown["name"], unknown["id"]) == ("task_unknown", "nobody.knows", "an-id")
    assert isinstance(unknown["exc"], celeriac.errors.NotRegistered)
    assert unknown["message"].headers["task"] == "nobody.knows"
    assert unknown["message"].payload[0] == [1]
    assert second == "task_rejected"
    assert isinstance(rejected["exc"], celeriac.errors.CeleriacError)


def test_a_receiver_that_ends_the_interpreter_ends_nothing(app: Any) -> None:
    @signals.task_received.connect
    def leave(**named: Any) -> None:
        raise SystemExit(3)

    assert not isinstance(admit(app, payload_of(app, "told.work")), Settlement)
