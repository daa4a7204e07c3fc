"""Who is dead: only a counter seen unchanged for a whole lease on our own clock says so."""

from __future__ import annotations

from celeriac.worker.supervisor.reaper import Reaper

LEASE = 15.0


def reaper() -> Reaper:
    return Reaper("own:1-a", LEASE)


def test_unchanged_for_a_lease_is_dead() -> None:
    watch = reaper()
    assert watch.dead({"n:2-b/0.1": 5}, 0.0) == []
    assert watch.dead({"n:2-b/0.1": 5}, 14.9) == []
    assert watch.dead({"n:2-b/0.1": 5}, 15.0) == [("n:2-b", {"n:2-b/0.1": 5})]


def test_a_counter_that_moves_lives() -> None:
    watch = reaper()
    for second in range(100):
        assert watch.dead({"n:2-b/0.1": second}, float(second * 5)) == []


def test_a_node_with_one_living_lease_lives() -> None:
    watch = reaper()
    watch.dead({"n:2-b/0.1": 1, "n:2-b/s1": 1}, 0.0)
    assert watch.dead({"n:2-b/0.1": 1, "n:2-b/s1": 2}, 20.0) == []


def test_an_outage_starts_the_count_anew() -> None:
    watch = reaper()
    watch.dead({"n:2-b/0.1": 1}, 0.0)
    watch.forget()
    assert watch.dead({"n:2-b/0.1": 1}, 20.0) == []
    assert watch.dead({"n:2-b/0.1": 1}, 35.0) != []


def test_it_never_finds_its_own_node_dead() -> None:
    watch = reaper()
    watch.dead({"own:1-a/0.1": 1}, 0.0)
    assert watch.dead({"own:1-a/0.1": 1}, 1000.0) == []
