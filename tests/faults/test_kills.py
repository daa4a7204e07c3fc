"""`kill -9` at random moments under full load: of a runner, of the supervisor, of a whole node."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults import nodes
from tests.faults.world import World

TASKS = 3000
KILLS = 3


@pytest.mark.parametrize("victim", ["runner", "supervisor", "node"])
def test_kill(world: World, victim: str) -> None:
    kept = world.keep(nodes=2)
    moments = sorted(world.rng.sample(range(50, TASKS - 500), KILLS))
    world.send(world.load(TASKS))
    for moment in moments:
        world.until_ended(moment)
        _KILL[victim](world, world.rng.choice(kept))
    world.until_drained()
    world.until_dead_are_forgotten()
    world.stop()
    world.check()


def _kill_runner(world: World, kept: nodes.KeptNode) -> None:
    # Frozen first: its supervisor takes its work back so quickly that the look at what was settled would come late.
    choice = nodes.runners(kept.wait_restarted(kept.starts))
    pid = world.rng.choice(choice)
    nodes.freeze([pid])
    world.account.note("kill -9 of a runner", [pid])
    nodes.kill([pid])


def _kill_supervisor(world: World, kept: nodes.KeptNode) -> None:
    """Its children must end by themselves."""
    node = kept.wait_restarted(kept.starts)
    members = node.members()
    starts = kept.starts
    os.kill(node.pid, signal.SIGKILL)
    nodes.until_dead(members)
    # Another node takes the work over only after a lease: what has a result now got it from the dead.
    world.account.note("kill -9 of a supervisor", members)
    kept.wait_restarted(starts + 1)


def _kill_node(world: World, kept: nodes.KeptNode) -> None:
    world.account.note("kill -9 of a node", kept.kill())


_KILL = {"runner": _kill_runner, "supervisor": _kill_supervisor, "node": _kill_node}
