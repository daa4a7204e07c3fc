"""The broker away while nodes run tasks: nobody has died, so nothing may run twice, and nothing may be lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from celeriac.exceptions import TimeoutError as ResultTimeout
from tests.faults.blows import locked
from tests.faults.conftest import LONG
from tests.faults.world import World
from tests.processes import until
from tests.servers import RedisServer

#: Lease, outage and run time of the tasks under way, seconds: issue sizes, and the same in small.
LEASE, OUTAGE, BODY = (15.0, 20.0, 60.0) if LONG else (2.0, 4.0, 8.0)


@contextmanager
def stood_still(server: RedisServer) -> Iterator[None]:
    """Connections stay open, nothing is answered."""
    server.pause()
    yield
    server.resume()


@contextmanager
def stopped(server: RedisServer) -> Iterator[None]:
    """Connections are refused; the data comes back with it."""
    server.stop()
    yield
    server.start()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "how, seconds",
    [
        pytest.param(stood_still, OUTAGE, id="stands still"),
        pytest.param(stopped, OUTAGE, id="stopped"),
        # Longer than a lease, and shorter than the deadline of a call: nobody sees an error.
        pytest.param(stood_still, 1.5 * LEASE, id="stands still unnoticed"),
    ],
)
def test_redis_away_while_tasks_run(
    how: Callable[[RedisServer], AbstractContextManager[None]],
    seconds: float,
    new_world: Callable[..., World],
    new_redis: Callable[..., RedisServer],
) -> None:
    server = new_redis(appendfsync="everysec")
    world = new_world(server.url(0), server.url(1), lease=LEASE)
    _away(world, lambda: how(server), seconds)


def test_queue_file_locked_while_tasks_run(new_world: Callable[..., World], tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    world = new_world(f"sqlite:///{path}", f"sqlite:///{path}", lease=LEASE)
    _away(world, lambda: locked(path), 1.5 * LEASE)


def _away(world: World, outage: Callable[[], AbstractContextManager[None]], seconds: float) -> None:
    """Tasks end during the outage and after it; more wait behind them."""
    world.keep(nodes=2)
    world.send([BODY, BODY, seconds / 2, seconds / 4])
    until(lambda: len(world.journal.read().starts) == 4, what="four tasks run")
    world.send(world.load(200, longer=4))
    with outage():
        end = time.monotonic() + seconds
        until(lambda: time.monotonic() > end, within=seconds + 5)
    world.until_drained(within=BODY + 40)
    world.stop()
    world.check()


def test_connections_cut_in_a_loop(world: World, engine: str, request: pytest.FixtureRequest) -> None:
    if engine == "sqlite":
        pytest.skip("no connections to cut")
    server: RedisServer = request.getfixturevalue("redis_server")
    world.keep(nodes=2)
    world.send(world.load(3000))
    cut, over = 0, threading.Event()

    def cutter() -> None:
        nonlocal cut
        while not over.wait(world.rng.uniform(0.002, 0.05)):
            cut += server.ask("CLIENT", "KILL", "TYPE", "normal")
            server.ask("CLIENT", "KILL", "TYPE", "pubsub")

    thread = threading.Thread(target=cutter)
    thread.start()
    try:
        until(lambda: world.accepted <= world.journal.read().ended(), within=60, what="all have run")
    finally:
        over.set()
        thread.join()
    print(f"{cut} connections cut")
    world.until_drained()
    world.stop()
    world.check()


def test_redis_killed_and_started_again(new_world: Callable[..., World], new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis(appendfsync="always")
    world = new_world(server.url(0), server.url(1), publish_timeout=1.0)
    world.keep(nodes=2)
    sent, over = threading.Event(), threading.Event()

    def sender() -> None:
        for seconds in world.load(2000):
            if over.is_set():
                break
            world.send_one(seconds)
        sent.set()

    thread = threading.Thread(target=sender)
    thread.start()
    try:
        for _ in range(5):
            world.until_ended(len(world.journal.read().ends) + world.rng.randrange(50, 200))
            server.kill()
            server.start()
    finally:
        over.set()
        thread.join()
    print(f"{len(world.accepted)} accepted, {len(world.uncertain)} uncertain")
    world.until_drained()
    world.stop()
    world.check()


def test_get_beside_an_outage(new_world: Callable[..., World], new_redis: Callable[..., RedisServer]) -> None:
    """Whoever waits when the server goes has the result soon after it is back; `get` never outlives its timeout."""
    server = new_redis(appendfsync="always")
    world = new_world(server.url(0), server.url(1), lease=LEASE)
    world.keep()
    results = [world.work.delay(seconds) for seconds in (1.0, 2.0)]
    world.accepted |= {result.id for result in results}
    got: list[object] = []
    waiters = [threading.Thread(target=lambda result=result: got.append(result.get(timeout=15))) for result in results]
    for waiter in waiters:
        waiter.start()
    until(lambda: len(world.journal.read().starts) == 2, what="both run")
    server.kill()
    since = time.monotonic()
    with pytest.raises(ResultTimeout):
        world.app.AsyncResult("never").get(timeout=1.0)
    assert time.monotonic() - since < 3.0
    until(lambda: len(world.journal.read().ends) == 2, what="both have ended meanwhile")
    server.start()
    back = time.monotonic()
    for waiter in waiters:
        waiter.join(timeout=10)
    print(f"{len(got)} results, {time.monotonic() - back:.2f} s after the server was back")
    assert len(got) == 2
    world.stop()
    world.check()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_ends_during_a_shutdown_is_settled_though_the_connection_was_lost(
    pool: str, new_world: Callable[..., World], new_redis: Callable[..., RedisServer]
) -> None:
    """It has run: were its outcome forgotten with the connection, the next node would run it again."""
    server = new_redis(appendfsync="always")
    world = new_world(server.url(), server.url(), pool=pool)
    (kept,) = world.keep(slots=1)
    ids = world.send([1.0])
    until(lambda: world.journal.read().starts, what="it runs")
    server.restart()
    kept.stop()
    assert world.settled(ids) == set(ids)
    world.check()
