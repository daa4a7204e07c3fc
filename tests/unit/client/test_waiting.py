"""Waits: one watch for all, read by whoever waits; nobody misses a document, nobody hangs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from celeriac.backends.registry import open_backend
from celeriac.client.patience import Patience
from celeriac.client.waiting import Closed, Waits
from celeriac.errors import OperationalError
from celeriac.foundation import safe_points
from celeriac.wire.message import Record

SOON = 20.0


class Counting:
    """A memory backend that counts its watches and lets them fail."""

    def __init__(self) -> None:
        self._real = open_backend(f"memory://{id(self)}")
        self.watches: list[Any] = []
        self.failures = 0

    @property
    def backend(self) -> Any:
        return self

    def watch(self) -> Any:
        made = Watch(self, self._real.watch())
        self.watches.append(made)
        return made

    def put(self, task_id: str, document: bytes = b"done") -> None:
        self._real.put_many([Record(task_id, document)])

    def get_many(self, ids: Any) -> dict[str, bytes]:
        return self._real.get_many(ids)


class Watch:
    def __init__(self, owner: Counting, real: Any) -> None:
        self._owner, self._real = owner, real
        self.ids: set[str] = set()
        self.readers: set[int] = set()
        self.waiting = threading.Event()
        self.closed = False

    def add(self, ids: Any) -> None:
        self.ids.update(ids)
        self._real.add(ids)

    def remove(self, ids: Any) -> None:
        self.ids.difference_update(ids)
        self._real.remove(ids)

    def wait(self, timeout: float) -> dict[str, bytes]:
        if self._owner.failures:
            self._owner.failures -= 1
            raise OperationalError("the backend is away")
        self.readers.add(threading.get_ident())
        self.waiting.set()
        arrived: dict[str, bytes] = self._real.wait(timeout)
        return arrived

    def interrupt(self) -> None:
        self._real.interrupt()

    def close(self) -> None:
        self.closed = True
        self._real.close()


@pytest.fixture
def source() -> Counting:
    return Counting()


@pytest.fixture
def waits(source: Counting) -> Iterator[Waits]:
    made = Waits(source)
    yield made
    made.close()


class Waiting:
    """`next` in a thread."""

    def __init__(self, waits: Waits, task_id: str, timeout: float = SOON) -> None:
        self.got: Any = None
        self.begun = threading.Event()

        def run() -> None:
            self._before()
            wait = waits.begin(task_id)
            self.begun.set()
            try:
                self.got = waits.next(wait, timeout)
            except BaseException as error:
                self.got = error
            finally:
                waits.end(wait)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        assert self.begun.wait(SOON)

    def _before(self) -> None:
        """In the thread."""

    def join(self) -> Any:
        self._thread.join(SOON)
        assert not self._thread.is_alive()
        return self.got


def test_alone_the_calling_thread_reads_itself(waits: Waits, source: Counting) -> None:
    source.put("x")
    wait = waits.begin("x")
    assert waits.next(wait, SOON) == ("x", b"done")
    waits.end(wait)
    assert source.watches[0].readers == {threading.get_ident()}
    assert source.watches[0].ids == set()
    assert waits._background is None


def test_a_timeout_is_kept(waits: Waits) -> None:
    wait = waits.begin("x")
    began = monotonic()
    assert waits.next(wait, 0.05) is None
    assert monotonic() - began < 5
    waits.end(wait)


def test_many_threads_share_one_watch(waits: Waits, source: Counting) -> None:
    waiting = [Waiting(waits, f"t{n}") for n in range(20)]
    for n in reversed(range(20)):
        source.put(f"t{n}")
    assert [w.join() for w in waiting] == [(f"t{n}", b"done") for n in range(20)]
    assert len(source.watches) == 1
    assert source.watches[0].ids == set()


def test_two_that_wait_for_one_task_both_get_it(waits: Waits, source: Counting) -> None:
    one, two = Waiting(waits, "x"), Waiting(waits, "x")
    source.put("x")
    assert one.join() == two.join() == ("x", b"done")


def test_one_that_comes_late_gets_what_the_first_has_been_told(waits: Waits, source: Counting) -> None:
    first = waits.begin("x")
    source.put("x")
    assert waits.next(first, SOON) == ("x", b"done")
    assert Waiting(waits, "x").join() == ("x", b"done")
    waits.end(first)


def test_the_lead_passes_on_when_the_leader_gives_up(waits: Waits, source: Counting) -> None:
    leader = Waiting(waits, "never", timeout=0.2)
    assert source.watches[0].waiting.wait(SOON)
    follower = Waiting(waits, "x")
    assert leader.join() is None
    source.put("x")
    assert follower.join() == ("x", b"done")


def test_a_leader_that_fails_leaves_the_lead_to_the_next(waits: Waits, source: Counting) -> None:
    source.failures = 1
    failed = Waiting(waits, "a")
    assert isinstance(failed.join(), OperationalError)
    second = Waiting(waits, "b")
    source.put("b")
    assert second.join() == ("b", b"done")


def test_an_idle_connection_is_kept_for_a_while_only(
    waits: Waits, source: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits.end(waits.begin("a"))
    waits.end(waits.begin("b"))
    assert len(source.watches) == 1
    waits._idle_since = monotonic() - 3600
    waits.end(waits.begin("c"))
    assert [w.closed for w in source.watches] == [True, False]


def test_close_ends_waits_with_an_error(waits: Waits, source: Counting) -> None:
    waiting = Waiting(waits, "x")
    assert source.watches[0].waiting.wait(SOON)
    waits.close()
    assert isinstance(waiting.join(), OperationalError)


def test_then_is_called_with_nobody_waiting(waits: Waits, source: Counting) -> None:
    done = threading.Event()
    seen: list[bytes] = []

    def take(document: bytes) -> bool:
        seen.append(document)
        if document == b"done":
            done.set()
        return document == b"done"

    waits.then("x", take)
    source.put("x", b"on the way")
    source.put("x")
    assert done.wait(SOON)
    assert seen[-1] == b"done"


def test_then_after_the_end_and_twice(waits: Waits, source: Counting) -> None:
    source.put("x")
    barrier = threading.Semaphore(0)

    def take(document: bytes) -> bool:
        barrier.release()
        return True

    waits.then("x", take)
    waits.then("x", take)
    assert barrier.acquire(timeout=SOON)
    assert barrier.acquire(timeout=SOON)


def test_the_background_thread_ends_and_comes_back(waits: Waits, source: Counting) -> None:
    def once(task_id: str) -> None:
        done = threading.Event()
        source.put(task_id)
        waits.then(task_id, lambda document: done.set() or True)
        assert done.wait(SOON)

    once("a")
    background = waits._background
    assert background is not None
    end = monotonic() + SOON
    while not background.ended and monotonic() < end:
        os.sched_yield()
    assert background.ended
    once("b")
    assert source.watches[0].ids == set()


def test_a_callback_that_takes_long_keeps_nobody_from_its_result(waits: Waits, source: Counting) -> None:
    inside, leave = threading.Event(), threading.Event()

    def take(document: bytes) -> bool:
        inside.set()
        return leave.wait(SOON)

    source.put("slow")
    waits.then("slow", take)
    assert inside.wait(SOON)
    waiting = Waiting(waits, "x")
    source.put("x")
    assert waiting.join() == ("x", b"done")
    leave.set()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_waits_on_a_watch_of_its_own(waits: Waits, source: Counting) -> None:
    waiting = Waiting(waits, "x")
    assert source.watches[0].waiting.wait(SOON)
    pid = os.fork()
    if pid == 0:  # pragma: no cover - another process
        fresh = Counting()
        waits._app = fresh
        fresh.put("y")
        wait = waits.begin("y")
        os._exit(0 if waits.next(wait, 5) == ("y", b"done") and len(fresh.watches) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    source.put("x")
    assert waiting.join() == ("x", b"done")


def test_a_wait_that_ends_by_what_its_body_is_owed_leaves_nothing_behind(waits: Waits, source: Counting) -> None:
    """Of a leader and of a sleeper: neither waits any longer, and the next one to wait leads."""
    late = threading.Event()

    class Owed(BaseException):
        pass

    def look() -> float:
        if late.is_set():
            raise Owed
        return 0.05

    class Body(Waiting):
        def _before(self) -> None:
            safe_points.run_bodies_here(look)

    bodies = [Body(waits, "x"), Body(waits, "x"), Body(waits, "y")]
    other = Waiting(waits, "z")  # runs no body
    late.set()
    assert [type(body.join()) for body in bodies] == [Owed] * 3
    source.put("z")
    assert other.join() == ("z", b"done")
    assert not waits._waits
    assert not waits._sleepers
    assert source.watches[0].ids == set()
    source.put("x")
    assert Waiting(waits, "x").join() == ("x", b"done")


# -- patience --------------------------------------------------------------------------------------------------------


def test_patience_ends_at_the_deadline_or_after_a_minute_of_silence() -> None:
    rests: list[float] = []
    away = OperationalError("away")
    Patience(monotonic() + 10, rests.append).bear(away)
    Patience(None, rests.append).bear(away)
    assert len(rests) == 2
    with pytest.raises(OperationalError, match="away"):
        Patience(monotonic() + 0.1, rests.append).bear(away)
    long_ago = Patience(None, rests.append)
    long_ago.bear(away)
    long_ago._away_since = monotonic() - 61
    with pytest.raises(OperationalError, match="away"):
        long_ago.bear(away)
    long_ago.answered()
    long_ago.bear(away)
    with pytest.raises(Closed):
        Patience(None, rests.append).bear(Closed("closed"))
