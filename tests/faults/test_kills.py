"""`kill -9` at random moments under full load: of a runner, of the supervisor, of a whole node."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.blows import Blows
from tests.faults.world import World
from tests.processes import until
from tests.servers import RedisServer

TASKS = 3000
KILLS = 3


@pytest.mark.parametrize("victim", ["runner", "supervisor", "node"])
def test_kill(world: World, victim: str) -> None:
    kill = Blows(world, world.keep(nodes=2)).kinds()[victim]
    moments = sorted(world.rng.sample(range(50, TASKS - 500), KILLS))
    world.send(world.load(TASKS))
    for moment in moments:
        world.until_ended(moment)
        kill()
    world.until_drained()
    world.until_dead_are_forgotten()
    world.stop()
    world.check()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_what_a_dead_runner_held_starts_elsewhere_within_a_second(
    pool: str, engine: str, new_world: Callable[..., World], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    if engine == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.ask("FLUSHALL")
        url = server.url()
    world = new_world(url, url, pool=pool)
    world.keep(1, 2, *(() if pool == "prefork" else ("--processes", "2")))
    world.send([1.5])
    (first,) = until(lambda: world.journal.read().starts, what="it runs")
    world.account.note("kill -9 of a runner", [first.pid])
    killed = time.monotonic()
    os.kill(first.pid, signal.SIGKILL)
    again = until(lambda: world.journal.read().starts[1:], what="it runs again")[0]
    print(f"after {again.at - killed:.3f} s")
    assert again.pid != first.pid
    assert again.at - killed < 1.0
    world.until_drained()
    world.stop()
    world.check()
