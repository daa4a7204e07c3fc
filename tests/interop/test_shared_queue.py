"""One queue and workers of both libraries: who takes what, what waits where, what is handed back."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.interop.peers import OURS, SHARED, STOCK, Market, node_of
from tests.processes import Process, until

pytest.importorskip("celery")


def test_two_thousand_tasks_none_lost_none_twice(market: Market) -> None:
    """Both clients publish while both workers consume."""
    ours, stock = market.client[OURS].count, market.client[STOCK].count
    for start in range(0, 2000, 100):
        ours.send_many([((n,), {}) for n in range(start, start + 50)], queue=SHARED)
        for n in range(start + 50, start + 100):
            stock.apply_async((n,), queue=SHARED)

    def counted() -> list[list[str]]:
        return [note for note in market.notes() if len(note) == 2 and note[1].isdigit()]

    until(lambda: len(counted()) >= 2000, within=60, what="2,000 notes")
    until(lambda: not market.server.ask("LLEN", SHARED), what="an empty queue")
    # Behind all that either worker still holds: when this has run on both, nothing is on its way any more.
    for kind in (OURS, STOCK):
        assert market.client[kind].add.apply_async((1, 1), queue=kind).get(timeout=15) == 2
    notes = counted()
    times = Counter(note[1] for note in notes)
    assert len(times) == 2000
    assert [number for number, often in times.items() if often > 1] == []
    shares = Counter(note[0] for note in notes)
    assert set(shares) == {"celeriac", "celery"}
    print(f"shares: {dict(shares)}")
    assert market.server.ask("HLEN", "unacked") == 0
    assert market.server.ask("KEYS", f"celeriac:*{SHARED}*:inflight:*") == []


def test_without_a_worker_the_queue_is_the_list_celery(market: Market) -> None:
    try:
        results = [market.client[kind].add.delay(1, n) for n, kind in enumerate([OURS, STOCK, OURS, STOCK])]
        assert market.server.ask("TYPE", "celery") == b"list"
        waiting = [json.loads(payload)["headers"]["id"] for payload in market.waiting("celery")]
        assert waiting == [result.id for result in results]
        assert market.client[OURS].app.broker.count(["celery"])["celery"].ready == 4
    finally:
        market.server.ask("DEL", "celery")


@pytest.fixture
def new_worker(market: Market) -> Iterator[Callable[[str, str], Process]]:
    """Makes (and does not start) a worker of a library for one queue."""
    made: list[Process] = []

    def new(kind: str, queue: str) -> Process:
        made.append(market.new_worker(kind, queue))
        return made[-1]

    yield new
    for process in made:
        if process.alive:
            process.stop()
        print(process.output())
        process.assert_gone()


@pytest.mark.parametrize("kind", [OURS, STOCK])
def test_priorities_of_either_are_kept(market: Market, new_worker: Callable[[str, str], Process], kind: str) -> None:
    """The lower number first, as Celery on Redis; in the order of sending within a step (0-2, 3-5, 6-8, 9)."""
    queue = tag = f"priority-{kind}"
    for turn, caller in enumerate((OURS, STOCK)):
        for priority in (9, 4, 0, 6, 3, 1, 8):
            market.client[caller].mark.apply_async((tag, turn, priority), queue=queue, priority=priority)
    new_worker(kind, queue).start()
    until(lambda: len([note for note in market.notes() if tag in note]) == 14, within=20, what="14 notes")
    ran = [(int(note[2]), int(note[3])) for note in market.notes() if tag in note]
    steps = [[0, 1], [4, 3], [6, 8], [9]]
    assert ran == [(turn, priority) for step in steps for turn in (0, 1) for priority in step]


@pytest.mark.parametrize("caller", [OURS, STOCK])
def test_what_we_put_off_can_be_handed_back_to_celery(
    market: Market, new_worker: Callable[[str, str], Process], caller: str
) -> None:
    queue = f"handed-back-{caller}"
    due = time.time() + 3
    result = market.client[caller].now.apply_async(queue=queue, countdown=3)
    (published,) = market.waiting(queue)
    worker = new_worker(OURS, queue)
    worker.start()
    until(lambda: market.server.ask("LLEN", queue) == 0, what="the worker has taken it")
    until(lambda: result.id in market.cli("delayed", "list", "-Q", queue), what="it is put off")
    assert worker.stop() == 0

    assert market.cli("delayed", "release", "-Q", queue) == "Handed back: 1.\n"
    assert market.waiting(queue) == [published]
    assert market.cli("delayed", "list", "-Q", queue) == "Nothing is put off.\n"
    stock = market.client[STOCK].app.control
    stock.add_consumer(queue, destination=[node_of(STOCK)], reply=True, timeout=10, limit=1)
    assert due <= result.get(timeout=20) <= due + 2
    market.worker[STOCK].expect(rf"shop\.now\[{result.id}\] succeeded")


def test_what_we_put_off_runs_here_in_time(market: Market, new_worker: Callable[[str, str], Process]) -> None:
    """A worker started late finds messages of both clients that are due at once, soon, and far away."""
    queue = "put-off"
    calls = [(kind, countdown) for kind in (OURS, STOCK) for countdown in (0.05, 1.5, 3600)]
    began = time.time()
    results = {
        call: market.client[call[0]].now.apply_async(queue=queue, countdown=call[1], expires=call[1] + 600)
        for call in calls
    }
    worker = new_worker(OURS, queue)
    worker.start()
    for (_, countdown), result in results.items():
        if countdown < 3600:
            assert began + countdown <= result.get(timeout=15)
        else:
            assert result.state == "PENDING"
    listed = market.cli("delayed", "list", "-Q", queue)
    assert [result.id in listed for result in results.values()] == [False, False, True] * 2
    assert worker.stop() == 0
