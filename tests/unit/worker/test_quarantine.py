"""Running a message with nothing beside it on its node: quiet all, run one after the other, go on."""

from __future__ import annotations

from celeriac.worker.supervisor.quarantine import LONGEST, PATIENCE, Quarantine


def test_all_are_quiet_before_one_runs_and_all_go_on_after() -> None:
    quarantine = Quarantine()
    assert quarantine.wanted([0, 1], 0.0) == [(0, "quiet"), (1, "quiet")]
    assert quarantine.quieted(1) == []
    assert quarantine.quieted(0) == [(0, "quarantine")]
    assert quarantine.ran(0, True) == [(0, "quarantine")]
    assert quarantine.ran(0, False) == [(0, "resume"), (1, "resume")]
    assert not quarantine.active


def test_it_is_not_wanted_twice_at_once() -> None:
    quarantine = Quarantine()
    quarantine.wanted([0], 0.0)
    assert quarantine.wanted([0], 1.0) == []


def test_a_sibling_that_takes_too_long_ends_it_for_a_while() -> None:
    quarantine = Quarantine()
    quarantine.wanted([0, 1], 0.0)
    quarantine.quieted(0)
    assert quarantine.tick(PATIENCE - 1) == []
    assert quarantine.tick(PATIENCE + 1) == [(0, "resume"), (1, "resume")]
    assert quarantine.wanted([0, 1], PATIENCE + 2) == []
    assert quarantine.wanted([0, 1], 2 * PATIENCE + 2) != []


def test_siblings_that_always_take_too_long_cost_less_and_less() -> None:
    quarantine = Quarantine()
    now = silent = 0.0
    while now < 100_000.0:
        if quarantine.wanted([0, 1], now):
            assert quarantine.tick(now + PATIENCE + 1)
            now, silent = now + PATIENCE + 1, silent + PATIENCE + 1
        now += 2.0
    assert silent < 2500.0
    quarantine.wanted([0], now + LONGEST)
    quarantine.quieted(0)
    quarantine.ran(0, False)
    quarantine.wanted([0], now + LONGEST + 1)
    quarantine.tick(now + LONGEST + PATIENCE + 2)
    assert quarantine.wanted([0], now + LONGEST + 2 * PATIENCE + 3)


def test_the_death_of_the_chosen_one_ends_it() -> None:
    quarantine = Quarantine()
    quarantine.wanted([0, 1], 0.0)
    quarantine.quieted(0)
    quarantine.quieted(1)
    assert quarantine.gone(0) == [(1, "resume")]
