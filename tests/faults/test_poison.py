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
    # A death more where others died with it at the third: then it runs alone first.
    assert 3 <= runs[poison] <= 5, world.journal.history(poison)
    assert (letter.task_id, letter.reason, letter.strikes) == (poison, "lost", runs[poison])
    document = world.documents([poison])[poison]
    assert (document["status"], document["result"]["exc_type"]) == ("FAILURE", "WorkerLostError")
    world.stop()
    _excuse_neighbours(world, poison, whom)
    world.check(dead=[poison])


def test_a_long_task_beside_it_is_not_blamed(world: World) -> None:
    """On one node with two slots the two die together again and again."""
    whom = "template"
    world.keep(nodes=1)
    world.send([2.0])
    until(lambda: world.journal.read().starts, what="the long task runs")
    poison = world.poison.delay(whom).id
    until(lambda: world.counts().dead, within=80, what="a dead letter")
    world.until_drained(within=80)
    world.accepted.add(poison)
    world.stop()
    _excuse_neighbours(world, poison, whom)
    world.check(dead=[poison])


def _excuse_neighbours(world: World, poison: str, whom: str) -> None:
    """What had started under a victim and may not have been settled when it died may have run once more."""
    journal = world.journal
    for death in [run for run in journal.starts if run.task_id == poison]:
        # Whoever wrote a line later was no victim. A settlement follows its end within some milliseconds.
        victims = {death.pid} if whom == "group" else _silent_after(world, death.at + 0.01)
        settled = {run.task_id for run in journal.ends if run.at < death.at - 0.05}
        theirs = {run.task_id for run in journal.starts if run.pid in victims and run.at < death.at + 0.01}
        world.account.excuse("the poison killed", theirs - settled)


def _silent_after(world: World, instant: float) -> set[int]:
    """Processes that started or ended nothing after it."""
    last: dict[int, float] = {}
    for run in [*world.journal.starts, *world.journal.ends]:
        last[run.pid] = max(last.get(run.pid, 0.0), run.at)
    return {pid for pid, at in last.items() if at <= instant}
