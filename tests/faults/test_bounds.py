"""What must stay small: the wait of a publisher without a broker, memory under delayed tasks, the idle processor."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from celeriac.errors import OperationalError
from tests.faults import nodes
from tests.faults.conftest import LONG
from tests.faults.world import World
from tests.processes import Node, until
from tests.proxy import Proxy
from tests.servers import RedisServer

TIMEOUT = 1.0
#: On top of the timeout: a busy machine.
SLACK = 1.0
DELAYED = 100_000 if LONG else 20_000
#: Bytes that the memory of a node may grow by.
GROWTH = 5 << 20


def _refused(world: World, *words: str) -> None:
    for _ in range(2):
        since = time.monotonic()
        with pytest.raises(OperationalError) as caught:
            world.work.delay(0.0)
        took = time.monotonic() - since
        print(f"after {took:.2f} s: {caught.value}")
        assert took < TIMEOUT + SLACK
        for word in words:
            assert word in str(caught.value)


def _accepts_again(world: World) -> None:
    world.work.delay(0.0)
    world.app.close()


def test_delay_while_redis_is_down(new_world: Callable[..., World], new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis(password="secret")
    world = new_world(server.url(0), server.url(1), publish_timeout=TIMEOUT)
    world.work.delay(0.0)
    server.stop()
    _refused(world, "cannot publish to redis://", str(server.port), "refused")
    server.start()
    _accepts_again(world)


def test_delay_while_redis_never_was_there(
    new_world: Callable[..., World], new_redis: Callable[..., RedisServer]
) -> None:
    server = new_redis()
    server.stop()
    _refused(new_world(server.url(0), server.url(1), publish_timeout=TIMEOUT), "cannot publish to redis://", "refused")


def test_delay_while_redis_is_frozen(new_world: Callable[..., World], new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis()
    world = new_world(server.url(0), server.url(1), publish_timeout=TIMEOUT)
    world.work.delay(0.0)
    server.pause()
    _refused(world, "cannot publish to redis://")
    server.resume()
    _accepts_again(world)


def test_delay_into_a_black_hole(
    new_world: Callable[..., World],
    new_redis: Callable[..., RedisServer],
    new_proxy: Callable[[RedisServer], Proxy],
) -> None:
    server = new_redis()
    proxy = new_proxy(server)
    url = f"redis://127.0.0.1:{proxy.port}/0"
    world = new_world(url, url, publish_timeout=TIMEOUT)
    proxy.black_hole()
    _refused(world, "cannot publish to redis://")
    proxy.heal()
    _accepts_again(world)


def test_delay_while_the_queue_file_is_locked(new_world: Callable[..., World], tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    world = new_world(f"sqlite:///{path}", f"sqlite:///{path}", publish_timeout=TIMEOUT)
    world.work.delay(0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        _refused(world, "cannot publish to sqlite:", "locked by another process")
    _accepts_again(world)


def test_delayed_tasks_take_no_memory_of_the_node(world: World) -> None:
    node = world.node()
    node.start()
    world.send([0.0] * 500)
    world.until_drained()
    before = _settled_memory(node)
    for _ in range(DELAYED // 2000):
        world.work.send_many([((0.0,), {})] * 2000, countdown=3600)
    until(lambda: world.counts().delayed == DELAYED, within=60, what="all are put off")
    world.send([0.0] * 500)
    world.until_ended(1000)
    after = _settled_memory(node)
    print(f"memory of the node {before / 1e6:.1f} MB, with {DELAYED} delayed tasks {after / 1e6:.1f} MB")
    assert after - before < GROWTH
    world.app.broker.purge(["celery"])
    assert node.stop() == 0


def _settled_memory(node: Node) -> int:
    """PSS once it has stopped growing: two looks alike."""
    seen: list[int] = []

    def calm() -> bool:
        seen.append(node.memory())
        return len(seen) > 20 and max(seen[-20:]) - min(seen[-20:]) < 64 << 10

    until(calm, within=10, what="memory stands still")
    return seen[-1]


def test_an_idle_node_uses_no_processor(world: World) -> None:
    node = world.node()
    node.start()
    world.send([0.0] * 10)
    world.until_drained()
    seconds = 5.0
    members = node.members()
    before, since = nodes.processor_seconds(members), time.monotonic()
    until(lambda: time.monotonic() > since + seconds, within=10)
    used = nodes.processor_seconds(members) - before
    print(f"{used:.2f} s of processor time in {seconds:.0f} s idle")
    assert used < 0.02 * seconds
    assert node.stop() == 0
