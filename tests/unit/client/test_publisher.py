"""The way out: group commit across threads, what is tried again and what is not, bounds, forks."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import pytest

from celeriac.brokers.base import Outgoing
from celeriac.client.app import Celery
from celeriac.client.group_commit import GroupCommit
from celeriac.client.publisher import Publisher
from celeriac.errors import BrokerError, OperationalError
from celeriac.wire.message import Message

SOON = 20.0


def message(n: int = 0) -> Outgoing:
    return Outgoing("q", Message({"n": n}, b"", {}))


class Line:
    """A broker's door: each trip stops in it until it is let through, or fails."""

    def __init__(self) -> None:
        self.trips: list[list[Any]] = []
        self.deadlines: list[float] = []
        self.arrived = threading.Semaphore(0)
        self._gate = threading.Semaphore(0)
        self.failures: list[BaseException | None] = []

    def send(self, messages: Sequence[Outgoing], deadline: float) -> None:
        self.trips.append([m.message.headers["n"] for m in messages])
        self.deadlines.append(deadline)
        self.arrived.release()
        assert self._gate.acquire(timeout=SOON)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure

    def open(self, times: int = 1) -> None:
        self._gate.release(times)

    def await_trip(self) -> None:
        assert self.arrived.acquire(timeout=SOON)


class Call:
    """A publish in a thread of its own."""

    def __init__(self, commit: GroupCommit, n: int, timeout: float = SOON) -> None:
        self.error: BaseException | None = None

        def run() -> None:
            try:
                commit.publish((message(n),), monotonic() + timeout)
            except BaseException as error:
                self.error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def join(self) -> BaseException | None:
        self._thread.join(SOON)
        assert not self._thread.is_alive()
        return self.error


def in_line(commit: GroupCommit, count: int) -> None:
    """Wait until so many calls stand in line."""
    end = monotonic() + SOON
    while len(commit._line) < count:
        assert monotonic() < end
        os.sched_yield()


def three_behind_one(door: Line, **options: Any) -> tuple[GroupCommit, list[Call]]:
    commit = GroupCommit(door.send, **options)
    calls = [Call(commit, 0)]
    door.await_trip()
    for n in (1, 2, 3):
        calls.append(Call(commit, n))
        in_line(commit, n)
    return commit, calls


def test_what_arrives_during_a_round_trip_travels_together_in_the_next() -> None:
    door = Line()
    _, calls = three_behind_one(door)
    door.open(2)
    assert [call.join() for call in calls] == [None] * 4
    assert door.trips == [[0], [1, 2, 3]]


def test_a_trip_carries_no_more_than_the_broker_takes() -> None:
    door = Line()
    _, calls = three_behind_one(door, largest=2)
    door.open(3)
    assert [call.join() for call in calls] == [None] * 4
    assert door.trips == [[0], [1, 2], [3]]


def test_a_failed_trip_fails_those_who_were_on_it_and_nobody_else() -> None:
    door = Line()
    failure = OperationalError("gone")
    door.failures = [None, failure]
    commit, calls = three_behind_one(door)
    door.open(2)
    errors = [call.join() for call in calls]
    assert errors[0] is None
    assert [str(error) for error in errors[1:]] == ["gone"] * 3
    assert len({id(error) for error in errors[1:]}) == 3, "one exception raised in three threads mixes tracebacks"
    door.open()
    assert Call(commit, 9).join() is None


def test_at_the_deadline_what_stands_in_line_was_not_sent() -> None:
    door = Line()
    commit = GroupCommit(door.send)
    first = Call(commit, 0)
    door.await_trip()
    error = Call(commit, 1, timeout=0.01).join()
    assert isinstance(error, OperationalError)
    assert getattr(error, "unsent", False)
    door.open(2)
    assert first.join() is None
    assert Call(commit, 2).join() is None
    assert door.trips == [[0], [2]]


def test_a_trip_ends_by_the_deadline_of_who_leads_it() -> None:
    door = Line()
    commit = GroupCommit(door.send)
    began = monotonic()
    first = Call(commit, 0, timeout=1000)
    door.await_trip()
    second = Call(commit, 1, timeout=500)
    in_line(commit, 1)
    door.open(2)
    assert (first.join(), second.join()) == (None, None)
    assert [round(deadline - began, -2) for deadline in door.deadlines] == [1000, 500]


def test_an_interrupted_waiter_does_not_take_the_lead_with_it() -> None:
    door = Line()
    commit = GroupCommit(door.send)
    first = Call(commit, 0)
    door.await_trip()

    class Interrupted(threading.Thread):
        error: BaseException | None = None

        def run(self) -> None:
            try:
                commit.publish(_Interrupting((message(1),)), monotonic() + SOON)
            except KeyboardInterrupt as error:
                self.error = error

    interrupted = Interrupted(daemon=True)
    interrupted.start()
    in_line(commit, 1)
    door.open()
    assert first.join() is None
    interrupted.join(SOON)
    assert interrupted.error is not None
    door.open()
    assert Call(commit, 2).join() is None


class _Interrupting(tuple[Outgoing, ...]):
    """Ctrl-C at the worst moment: when the lead has been taken and the messages are being gathered."""

    __slots__ = ()

    def __iter__(self) -> Any:
        raise KeyboardInterrupt


def test_many_threads_lose_and_double_nothing() -> None:
    got: list[int] = []
    commit = GroupCommit(lambda messages, _: got.extend(m.message.headers["n"] for m in messages), largest=7)

    def work(start: int) -> None:
        for n in range(start, start + 200):
            commit.publish((message(n),), monotonic() + SOON)

    threads = [threading.Thread(target=work, args=(k * 200,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert sorted(got) == list(range(1600))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_publishes_though_its_parent_was_publishing() -> None:
    door = Line()
    commit = GroupCommit(door.send)
    first = Call(commit, 0)
    door.await_trip()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - another process
        sent: list[int] = []
        commit._send = lambda messages, _: sent.append(len(messages))
        commit.publish((message(1),), monotonic() + 1)
        os._exit(0 if sent == [1] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    door.open()
    assert first.join() is None


# -- trying again ----------------------------------------------------------------------------------------------------


class Flaky:
    """A broker that fails as told, then takes everything."""

    def __init__(self, app: Celery, *failures: Exception) -> None:
        self.capabilities = app.broker.capabilities
        self.failures = list(failures)
        self.tries = 0
        app.opened._made["broker"] = self

    def publish(self, messages: Sequence[Outgoing], timeout: float | None = None) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)


def unsent(text: str = "refused") -> OperationalError:
    error = OperationalError(text)
    error.unsent = True  # type: ignore[attr-defined]
    return error


def publisher(app: Celery) -> tuple[Publisher, list[float]]:
    slept: list[float] = []
    return Publisher(app, slept.append), slept


def test_what_was_surely_not_sent_is_tried_again_by_the_policy(app: Celery) -> None:
    broker = Flaky(app, unsent(), unsent())
    out, slept = publisher(app)
    out.publish((message(),))
    assert broker.tries == 3
    assert slept == [0, 0.2]


def test_what_may_have_been_accepted_is_not(app: Celery) -> None:
    broker = Flaky(app, OperationalError("the connection was lost"))
    out, _ = publisher(app)
    with pytest.raises(OperationalError, match=r"cannot publish to memory://.*: the connection was lost"):
        out.publish((message(),))
    assert broker.tries == 1


@pytest.mark.parametrize(
    ("options", "tries"),
    [
        ({}, 4),
        ({"retry": False}, 1),
        ({"retry_policy": {"max_retries": 1}}, 2),
        ({"retry_policy": {"max_retries": 0}}, 1),
    ],
)
def test_how_often(app: Celery, options: dict[str, Any], tries: int) -> None:
    broker = Flaky(app, *[unsent() for _ in range(9)])
    out, _ = publisher(app)
    with pytest.raises(OperationalError) as raised:
        out.publish((message(),), **options)
    assert broker.tries == tries
    assert getattr(raised.value, "unsent", False)


def test_the_policy_ends_at_the_timeout(app: Celery) -> None:
    broker = Flaky(app, *[unsent() for _ in range(9)])
    out, slept = publisher(app)
    with pytest.raises(OperationalError):
        out.publish((message(),), timeout=1, retry_policy={"max_retries": None, "interval_start": 2, "interval_max": 2})
    assert (broker.tries, slept) == (1, [])


def test_a_refusal_is_not_tried_again(app: Celery) -> None:
    broker = Flaky(app, BrokerError("too large"))
    out, _ = publisher(app)
    with pytest.raises(BrokerError, match="too large"):
        out.publish((message(),))
    assert broker.tries == 1


def test_no_password_in_the_error(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "redis://:s3cret@localhost:1/0"
    app.conf.broker_url = url
    Flaky(app, OperationalError(f"cannot reach {url}"))
    out, _ = publisher(app)
    with pytest.raises(OperationalError) as raised:
        out.publish((message(),))
    assert "s3cret" not in str(raised.value)
    assert "redis://:**@localhost:1/0" in str(raised.value)


def test_delay_with_no_broker_raises_in_bounded_time(app: Celery) -> None:
    app.conf.publish_timeout = 0.5

    @app.task
    def f() -> None: ...

    Flaky(app, *[unsent() for _ in range(9)])
    began = monotonic()
    with pytest.raises(OperationalError):
        f.delay()
    assert monotonic() - began < 2


def test_a_server_that_says_nothing_is_not_tried_beyond_the_timeout() -> None:
    app = Celery("mute", broker="redis://127.0.0.1/0", set_as_current=False)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        app.conf.broker_url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        app.conf.update(publish_timeout=1.2, broker_connection_timeout=0.8)
        began = monotonic()
        with pytest.raises(OperationalError, match="did not answer in time"):
            app.send_task("any")
        assert monotonic() - began < 1.5  # two tries would take 1.6


def test_prepare_sends_nothing(app: Celery, sent: Callable[..., list[Message]]) -> None:
    outgoing = app.publisher.prepare("proj.f", (1,), {"x": 2})
    assert outgoing.message.headers["task"] == "proj.f"
    assert sent() == []
