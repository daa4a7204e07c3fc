"""`kill -9` at random moments under full load: of a runner, of the supervisor, of a whole node."""

from __future__ import annotations

import pytest

from tests.faults.blows import Blows
from tests.faults.world import World

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
