"""A task that kills whatever runs it, among 1,000 ordinary ones on two nodes: it alone becomes a dead letter."""

from __future__ import annotations

import pytest

from tests.faults.world import QUEUE, World
from tests.processes import until

ORDINARY = 1000


@pytest.mark.parametrize("whom", ["group", "template", "node"])
def test_a_task_that_kills(world: World, whom: str) -> None:
    world.keep(nodes=2)
    times = world.load(ORDINARY, longer=10)
    # Two that are likely to run beside it each time: they must not be blamed with it.
    times[10:10] = [1.5, 1.5]
    at = world.rng.randrange(10, 100)
    world.send(times[:at])
    poison = world.poison.delay(whom).id
    world.accepted.add(poison)
    world.send(times[at:])

    until(lambda: world.counts().dead, within=80, what="a dead letter")
    world.accepted.discard(poison)
    world.until_drained(within=80)
    world.accepted.add(poison)
    (letter,) = world.app.broker.dead_letters([QUEUE])
    print(f"strikes {letter.strikes}: {letter.detail}")
    runs = world.journal.read().started()
    assert runs[poison] == 3, world.journal.history(poison)
    assert (letter.task_id, letter.reason, letter.strikes) == (poison, "lost", 3)
    document = world.documents([poison])[poison]
    assert (document["status"], document["result"]["exc_type"]) == ("FAILURE", "WorkerLostError")
    world.stop()
    _excuse_neighbours(world, poison)
    world.check(dead=[poison])


def _excuse_neighbours(world: World, poison: str) -> None:
    """The poison killed at its starts. What had started and not ended then, or ended too late to be settled, may have
    run once more; a body of another node is none of its victims, and it settles what it ran."""
    journal = world.journal
    for death in [run.at for run in journal.starts if run.task_id == poison]:
        ended = {run.task_id for run in journal.ends if run.at < death - 0.05}
        running = {run.task_id for run in journal.starts if run.at < death + 0.05} - ended
        world.account.excuse("the poison killed", running | {poison})
