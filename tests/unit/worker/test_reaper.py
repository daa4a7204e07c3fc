"""Who is dead: only a counter seen unchanged for a whole lease on our own clock says so."""

from __future__ import annotations

from celeriac.worker.supervisor.reaper import Reaper

LEASE = 15.0


def reaper() -> Reaper:
    return Reaper("own:1-a", LEASE)


def watched(watch: Reaper, leases: dict[str, int], start: float, end: float) -> list[tuple[str, dict[str, int]]]:
    """What the last of looks at the usual pace says, the first at `start` and the last at `end`."""
    now = start
    while now < end:
        assert watch.dead(leases, now) == []
        now += LEASE / 3
    return watch.dead(leases, end)


def test_unchanged_for_a_lease_is_dead() -> None:
    leases = {"n:2-b/0.1": 5}
    assert watched(reaper(), leases, 100.0, 114.9) == []
    assert watched(reaper(), leases, 100.0, 115.0) == [("n:2-b", leases)]


def test_what_was_not_watched_proves_nothing() -> None:
    leases = {"n:2-b/0.1": 5}
    watch = reaper()
    # The server stood still between these looks, and whoever would have renewed could not.
    assert watched(watch, leases, 100.0, 110.0) == []
    assert watch.dead(leases, 121.0) == []
    assert watched(watch, leases, 122.0, 135.9) == []
    assert watch.dead(leases, 136.0) == [("n:2-b", leases)]


def test_a_counter_that_moves_lives() -> None:
    watch = reaper()
    for second in range(100):
        assert watch.dead({"n:2-b/0.1": second}, float(second * 5)) == []


def test_a_node_with_one_living_lease_lives() -> None:
    watch = reaper()
    for look in range(12):
        assert watch.dead({"n:2-b/0.1": 1, "n:2-b/s1": look}, look * LEASE / 3) == []


def test_an_outage_starts_the_count_anew() -> None:
    leases = {"n:2-b/0.1": 1}
    watch = reaper()
    watched(watch, leases, 100.0, 110.0)
    watch.forget()
    assert watched(watch, leases, 111.0, 125.9) == []
    assert watch.dead(leases, 126.0) != []


def test_it_never_finds_its_own_node_dead() -> None:
    assert watched(reaper(), {"own:1-a/0.1": 1}, 0.0, 1000.0) == []
