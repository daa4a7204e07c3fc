"""Rate limits: never more than the limit and one in any window, never starving, put off to moments of their own."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celeriac.errors import ImproperlyConfigured
from celeriac.execution.rates import HORIZON, Schedule, ask, charge, slack
from celeriac.foundation.rate import rate

BEGIN = 1_700_000_000.0


class Played:
    """Messages that all come at once and, put off, come back as late as `late` says, until each has started."""

    def __init__(self, messages: int, per_second: float, late: Callable[[random.Random], float], seed: int = 0) -> None:
        chance, schedule = random.Random(seed), Schedule()
        waiting = [(BEGIN, number) for number in range(messages)]
        self.starts: list[float] = []
        self.put_off: Counter[int] = Counter()
        patience = 100 + messages / per_second / 10
        while waiting:
            now, number = heapq.heappop(waiting)
            moment = ask(schedule, per_second, now, chance.random)
            if moment == 0.0:
                self.starts.append(now)
            else:
                assert now < moment <= now + HORIZON
                self.put_off[number] += 1
                assert self.put_off[number] < patience, "a message starves"
                heapq.heappush(waiting, (moment + late(chance), number))

    def most_within(self, window: float) -> int:
        most = first = 0
        for last, instant in enumerate(self.starts):
            while instant - self.starts[first] > window:
                first += 1
            most = max(most, last - first + 1)
        return most

    @property
    def per_second(self) -> float:
        return (len(self.starts) - 1) / (self.starts[-1] - self.starts[0])


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(None, 0), (0, 0), ("", 0), (5, 5), ("5", 5), ("0.5/s", 0.5), ("10/m", 1 / 6), ("100/h", 1 / 36), (2.5, 2.5)],
)
def test_limits_are_read_as_celery_reads_them(limit: object, expected: float) -> None:
    assert rate(limit) == pytest.approx(expected)


@pytest.mark.parametrize("limit", ["ten", "10/d", "-1/s", "nan", "inf", [], "1/m/s"])
def test_what_is_no_limit_is_refused(limit: object) -> None:
    with pytest.raises(ImproperlyConfigured, match="rate limit"):
        rate(limit)


@settings(max_examples=60, deadline=None)
@given(
    per_second=st.sampled_from([1 / 360, 1 / 6, 0.5, 1.0, 3.0, 10.0, 18.0, 100.0]),
    late=st.sampled_from([0.0, 0.005, 0.4, 5.0, 40.0]),
    messages=st.integers(1, 120),
    seed=st.integers(0, 1000),
)
def test_no_window_has_more_than_the_limit_and_one_and_none_starves(
    per_second: float, late: float, messages: int, seed: int
) -> None:
    played = Played(messages, per_second, lambda chance: late * chance.random(), seed)
    assert len(played.starts) == messages
    for window in (1.0, 60.0, 3600.0):
        assert played.most_within(window) <= per_second * (window + slack(1 / per_second)) + 1
        if per_second <= 18:
            assert played.most_within(window) <= max(1.0, per_second * window) + 1


def test_messages_that_come_on_time_start_at_the_full_rate_and_are_put_off_once_within_the_horizon() -> None:
    played = Played(590, 10.0, lambda chance: 0.02 * chance.random())
    assert played.per_second == pytest.approx(10.0, rel=0.01)
    assert set(played.put_off.values()) == {1}


def test_a_hundred_thousand_come_by_as_a_trickle_without_bursts() -> None:
    schedule, chance = Schedule(), random.Random(1)
    moments = [ask(schedule, 10.0, BEGIN, chance.random) for _ in range(100_000)]
    by_second = Counter(int(moment - BEGIN) for moment in moments)
    # The promised ones by ten, the others evenly over the second half of the minute.
    assert all(by_second[second] <= 11 for second in range(1, 29))
    assert max(by_second.values()) < 1.2 * 100_000 / 30


def test_a_limit_that_is_changed_holds_at_once_for_whoever_asks() -> None:
    schedule = Schedule()
    for _ in range(100):
        ask(schedule, 1 / 60, BEGIN)
    assert ask(schedule, 100.0, BEGIN + 0.02) == 0.0


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    schedule = Schedule()
    assert ask(schedule, 1.0, BEGIN) == 0.0
    assert BEGIN - 1000 < ask(schedule, 1.0, BEGIN - 1000) <= BEGIN - 998


def test_what_must_not_wait_is_counted() -> None:
    schedule = Schedule()
    charge(schedule, 1.0, BEGIN)
    assert ask(schedule, 1.0, BEGIN) > BEGIN
