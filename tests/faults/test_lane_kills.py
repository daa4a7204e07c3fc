"""`kill -9` of a runner in which many tasks run: what ran runs once more, what waited there had only moved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import nodes
from tests.faults.world import World

TASKS = 400
LANES = 4


@pytest.mark.parametrize("pool", ["threads", "asyncio", "gevent", "eventlet"])
def test_kill_of_a_runner_of_many(pool: str, new_world: Callable[..., World], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    world = new_world(url, url, pool=pool)
    (kept,) = world.keep(1, LANES, "--processes", "2")
    world.send(world.load(TASKS))
    for moment in (100, 250):
        world.until_ended(moment)
        pid = world.rng.choice(nodes.runners(kept.wait_restarted(kept.starts)))
        nodes.freeze([pid])
        kill = world.account.note("kill -9 of a runner", [pid])
        running = {run.task_id for run in world.journal.read().starts if run.pid == pid} - world.journal.ended()
        assert len(running) <= LANES
        nodes.kill([pid])
        print(f"{len(running)} ran, {len(kill.unsettled)} were not settled")
    world.until_drained()
    world.stop()
    world.check()
