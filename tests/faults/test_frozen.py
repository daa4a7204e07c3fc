"""Nodes that stand still (SIGSTOP: a suspended machine, a paused container) past their lease, and come back."""

from __future__ import annotations

import time

import pytest

from tests.faults import nodes
from tests.faults.blows import freeze, until_taken
from tests.faults.world import World
from tests.processes import until

TASKS = 2000
#: Seconds within which a thawed process has noticed that its lease is over.
NOTICE = 0.5


@pytest.mark.parametrize("what", ["node", "supervisor"])
def test_frozen_past_its_lease_and_thawed(world: World, what: str) -> None:
    (kept,) = world.keep(slots=3)
    victim = world.node(slots=3)
    victim.start()
    # Some of these run across the whole of it.
    world.send([2 * world.lease] * 4)
    until(lambda: len(world.journal.read().starts) == 4, what="the long ones run")
    world.send(world.load(TASKS))
    world.until_ended(world.rng.randrange(100, TASKS // 3))
    workers = nodes.runners(victim)

    frozen = freeze(world, victim, what)
    if what == "node":
        world.account.note("a node frozen", workers)
    until_taken(world, victim)
    if what == "supervisor":
        # Its runners went on while their lease lasted; what they have not settled by now they cannot settle any more.
        world.account.note("a supervisor frozen", workers)
    nodes.thaw(frozen)
    thawed = time.monotonic()

    world.until_drained()
    _check_late_starts(world, workers, thawed)
    _check_refused(world, workers)
    # The thawed node serves again, under new leases.
    kept.stop()
    world.kept.clear()
    world.send([0.0] * 50)
    world.until_drained()
    assert victim.stop(within=3) == 0
    victim.assert_gone()
    world.check()


def test_frozen_while_it_waits_idle(world: World) -> None:
    victim = world.node()
    victim.start()
    world.send([0.0])
    world.until_drained()

    frozen = freeze(world, victim, "node")
    (kept,) = world.keep()
    until_taken(world, victim)
    world.send([0.001] * 50)
    world.until_drained(within=20)
    kept.stop()
    world.kept.clear()
    world.send([0.001] * 50)
    nodes.thaw(frozen)
    world.until_drained(within=20)

    # Idle again, and frozen again, with nobody else to take anything.
    frozen = freeze(world, victim, "node")
    end = time.monotonic() + 1.5 * world.lease
    world.send([0.001] * 50)
    until(lambda: time.monotonic() > end, within=10)
    nodes.thaw(frozen)
    world.until_drained(within=20)
    assert victim.stop() == 0
    victim.assert_gone()
    world.check()


def _check_late_starts(world: World, workers: list[int], thawed: float) -> None:
    """What has lost its lease starts nothing new. Only a body whose start had been decided when the freeze came, and
    had not yet written its line, may still do so: one for each runner, at once."""
    late = [run for run in world.journal.read().starts if run.pid in workers and run.at > thawed]
    assert len({run.pid for run in late}) == len(late), late
    assert all(run.at < thawed + NOTICE for run in late), late
    world.account.excuse("starts decided before the freeze", [run.task_id for run in late])


def _check_refused(world: World, workers: list[int]) -> None:
    """Of what ran twice the result is the other's: the frozen ones' settlement was refused."""
    twice = [task_id for task_id, count in world.journal.read().started().items() if count > 1]
    documents = world.documents(twice)
    stale = [task_id for task_id in twice if documents[task_id]["result"] in workers]
    assert not stale, [world.journal.history(task_id) for task_id in stale]
