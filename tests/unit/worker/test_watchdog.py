"""The watchdog: what neither runs nor turns is stuck; what was frozen or had no broker is not."""

from __future__ import annotations

from celeriac.worker.supervisor.watchdog import STUCK, Watchdog


def looks(watchdog: Watchdog, turns: int, running: int, start: float, end: float) -> bool:
    stuck, now = False, start
    while now <= end:
        watchdog.begin(now)
        stuck = watchdog.look(0, running, turns, now) or stuck
        now += 1.0
    return stuck


def test_no_turn_for_long_is_stuck() -> None:
    watchdog = Watchdog()
    assert not looks(watchdog, 7, 0, 0.0, STUCK)
    assert looks(watchdog, 7, 0, STUCK + 1, STUCK + 2)


def test_a_long_task_is_not_stuck() -> None:
    assert not looks(Watchdog(), 7, 41, 0.0, 10 * STUCK)


def test_turns_that_grow_are_life() -> None:
    watchdog = Watchdog()
    for turn in range(20):
        assert not looks(watchdog, turn, 0, turn * 10.0, turn * 10.0 + 9)


def test_a_node_that_was_frozen_begins_anew() -> None:
    watchdog = Watchdog()
    looks(watchdog, 7, 0, 0.0, 1.0)
    assert not looks(watchdog, 7, 0, 1000.0, 1000.0 + STUCK)


def test_an_excuse_begins_anew() -> None:
    watchdog = Watchdog()
    looks(watchdog, 7, 0, 0.0, STUCK - 1)
    watchdog.excuse()
    assert not looks(watchdog, 7, 0, STUCK, STUCK + 5)
