"""What a full queue means to who calls a task: refused, kept waiting, or the oldest set aside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from celeriac import Celery
from celeriac.brokers.base import Outgoing
from celeriac.client.group_commit import GroupCommit
from celeriac.errors import ImproperlyConfigured, OperationalError, QueueFull
from celeriac.wire.message import Message
from tests.processes import until

Make = Callable[..., Celery]


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    apps: list[Celery] = []

    def make(**settings: Any) -> Celery:
        app = Celery("full", broker=f"memory://{request.node.name}", set_as_current=False)
        app.conf.update(settings)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


def ready(app: Celery) -> int:
    return app.broker.count(["celery"])["celery"].ready


def test_it_is_refused_at_once(make: Make) -> None:
    app = make(queue_max_length=2)
    for _ in range(2):
        app.send_task("t")
    with pytest.raises(QueueFull, match="queue_max_length is 2"):
        app.send_task("t")
    app.send_task("t", queue="celery2")
    assert ready(app) == 2


def test_of_a_batch_in_portions_it_is_told_what_was_sent(make: Make) -> None:
    app = make(queue_max_length=1500)
    task = app.task(name="t")(lambda number: None)
    with pytest.raises(QueueFull) as raised:
        task.send_many([(number,) for number in range(2500)])
    assert raised.value.__notes__ == ["1000 of 2500 messages had been sent before"]
    assert ready(app) == 1000


def test_it_waits_for_room(make: Make) -> None:
    app = make(queue_max_length={"celery": 1}, queue_overflow="block", publish_timeout=20)
    app.send_task("t")
    sent = threading.Thread(target=lambda: app.send_task("t", task_id="second"))
    sent.start()
    app.broker.purge(["celery"])
    sent.join(20)
    assert not sent.is_alive()
    assert ready(app) == 1


def test_it_does_not_wait_for_ever(make: Make) -> None:
    app = make(queue_max_length=1, queue_overflow="block", publish_timeout=0.1)
    app.send_task("t")
    with pytest.raises(QueueFull):
        app.send_task("t")
    assert ready(app) == 1


def test_the_oldest_are_set_aside(make: Make) -> None:
    app = make(queue_max_length=1, queue_overflow="drop_oldest")
    app.send_task("t", task_id="first")
    app.send_task("t", task_id="second")
    assert [letter.task_id for letter in app.dead.list(reason="overflow")] == ["first"]


@pytest.mark.parametrize(
    "settings",
    [
        {"queue_max_length": 0},
        {"queue_max_length": "9"},
        {"queue_overflow": "drop"},
        {"dead_letter_max": -1},
        {"revokes_max": -1},
    ],
)
def test_what_cannot_be_meant_is_refused(make: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured, match=next(iter(settings))):
        make(**settings).send_task("t")


def test_one_callers_full_queue_is_not_anothers() -> None:
    """Messages of several threads travel together; what one of them is refused must not refuse the others."""
    first_trip, waiting = threading.Event(), threading.Event()
    arrived: list[str] = []

    def send(messages: Any, deadline: float) -> None:
        names = [outgoing.queue for outgoing in messages]
        if names == ["first"]:
            first_trip.set()
            assert waiting.wait(20)
        if "full" in names:
            raise QueueFull("full", queue="full")
        arrived.extend(names)

    commit = GroupCommit(send)
    errors: dict[str, BaseException] = {}

    def publish(queue: str) -> None:
        try:
            commit.publish([Outgoing(queue, Message({}, b"", {}))], 1e9)
        except QueueFull as error:
            errors[queue] = error

    threads = {name: threading.Thread(target=publish, args=(name,)) for name in ("first", "a", "full", "b")}
    threads["first"].start()
    assert first_trip.wait(20)
    for name in ("a", "full", "b"):
        threads[name].start()
    until(lambda: len(commit._line) == 3, what="they stand in line")
    waiting.set()
    for thread in threads.values():
        thread.join(20)
    assert set(errors) == {"full"}
    assert sorted(arrived) == ["a", "b", "first"]


def test_where_the_leader_is_interrupted_nobody_is_told_that_nothing_was_queued() -> None:
    """A caller that is refused calls again, and what had been queued would be there twice."""
    first_trip, waiting = threading.Event(), threading.Event()
    arrived: list[str] = []

    def send(messages: Any, deadline: float) -> None:
        names = [outgoing.queue for outgoing in messages]
        if names == ["first"]:
            first_trip.set()
            assert waiting.wait(20)
        elif len(names) > 1:
            raise QueueFull("full", queue="full")
        elif arrived:
            raise KeyboardInterrupt
        else:
            arrived.extend(names)

    commit = GroupCommit(send)
    errors: dict[str, BaseException] = {}

    def publish(queue: str) -> None:
        try:
            commit.publish([Outgoing(queue, Message({}, b"", {}))], 1e9)
        except BaseException as error:
            errors[queue] = error

    threads = {name: threading.Thread(target=publish, args=(name,)) for name in ("first", "a", "b")}
    for number, name in enumerate(threads):
        threads[name].start()
        assert first_trip.wait(20)
        until(lambda number=number: len(commit._line) == number, what="it stands in line")  # type: ignore[misc]
    waiting.set()
    for thread in threads.values():
        thread.join(20)
    assert arrived == ["a"]
    assert {name: type(error) for name, error in errors.items()} == {"a": KeyboardInterrupt, "b": OperationalError}


def test_it_waits_for_room_also_where_the_broker_was_away_first(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make(queue_max_length=1, queue_overflow="block", publish_timeout=20)
    app.send_task("t")
    publish, tries = app.broker.publish, list[float]()

    def away_once(messages: Any, timeout: float | None = None) -> None:
        tries.append(timeout or 0)
        if len(tries) == 1:
            error = OperationalError("away")
            error.unsent = True
            raise error
        if len(tries) == 3:
            app.broker.purge(["celery"])
        publish(messages, timeout)

    monkeypatch.setattr(app.broker, "publish", away_once)
    app.send_task("t")
    assert (len(tries), ready(app)) == (3, 1)
