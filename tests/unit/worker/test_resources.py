"""When a node pauses for its memory, and how many slots it is to have: decisions without a clock or a process."""

from __future__ import annotations

import pytest

from celeriac import Celery
from celeriac.errors import ImproperlyConfigured
from celeriac.worker.loaded import plan_of
from celeriac.worker.options import WorkerOptions
from celeriac.worker.size import autoscale_of, size
from celeriac.worker.supervisor.autoscale import Autoscaler, run_time
from celeriac.worker.supervisor.board import Board
from celeriac.worker.supervisor.memory import Advice, Gauge
from celeriac.worker.supervisor.rates import Rates, RateTable


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, 0), (0, 0), (5000, 5000), ("500M", 500 << 20), ("2g", 2 << 30), ("1.5GiB", 3 << 29), ("80%", 800)],
)
def test_sizes(text: object, expected: int) -> None:
    assert size(text, lambda: 1000) == expected


@pytest.mark.parametrize("text", ["much", "-1", "120%", "5X", "%", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="80%"):
        size(text, lambda: 1000)


@pytest.mark.parametrize(
    ("text", "expected"), [(None, (0, 0)), ("10,3", (10, 3)), ("3,10", (10, 3)), ("4", (4, 1)), ("4,0", (4, 1))]
)
def test_ranges_of_slots(text: object, expected: tuple[int, int]) -> None:
    assert autoscale_of(text) == expected


def test_a_node_pauses_above_its_memory_and_goes_on_well_below() -> None:
    gauge = Gauge(1000)
    looks = [900, 1001, 990, 951, 949, 990]
    advice = [gauge.look(taken, now, idle=False, runners=2) for now, taken in enumerate(looks)]
    assert advice == [Advice.NOTHING, Advice.PAUSE, Advice.NOTHING, Advice.NOTHING, Advice.RESUME, Advice.NOTHING]


def test_memory_that_nothing_gives_back_is_taken_from_runners_and_then_the_limit_is_given_up() -> None:
    gauge = Gauge(1000)
    advice = [gauge.look(2000, float(now), idle=now > 3, runners=2) for now in range(14)]
    assert [each for each in advice if each is not Advice.NOTHING] == [
        Advice.PAUSE, Advice.REPLACE, Advice.REPLACE, Advice.GIVE_UP,
    ]  # fmt: skip


def test_the_backlog_in_seconds_of_work_decides() -> None:
    scaler = Autoscaler(least=2, most=10, keepalive=30)
    assert scaler.look(2, busy=2, backlog=1000, run_time=0.001, now=0) == 2
    assert scaler.look(2, busy=2, backlog=10, run_time=60, now=1) == 4
    assert scaler.look(4, busy=4, backlog=8, run_time=60, now=2) == 8
    assert scaler.look(8, busy=8, backlog=4, run_time=60, now=3) == 10
    assert scaler.look(10, busy=10, backlog=4000, run_time=60, now=4) == 10


def test_no_more_slots_than_messages_come() -> None:
    assert Autoscaler(1, 10, 30).look(4, busy=4, backlog=1, run_time=600, now=0) == 5


def test_spare_slots_go_after_a_while_and_busy_ones_stay() -> None:
    scaler = Autoscaler(least=1, most=10, keepalive=30)
    assert scaler.look(6, busy=3, backlog=0, run_time=1, now=0) == 6
    assert scaler.look(6, busy=5, backlog=0, run_time=1, now=20) == 6
    assert scaler.look(6, busy=3, backlog=0, run_time=1, now=31) == 5
    assert scaler.look(5, busy=5, backlog=0, run_time=1, now=40) == 5
    assert scaler.look(5, busy=1, backlog=0, run_time=1, now=60) == 5


def test_what_runs_counts_where_nothing_has_ended_yet() -> None:
    assert run_time([(0, 0.0)], [4.0, 2.0]) == 3.0
    assert run_time([(5, 0.1), (0, 0.0)], []) == 0.1


def test_rates_are_shared_by_all_who_see_the_board_and_changed_for_all() -> None:
    board = Board(slots=4)
    here = Rates(RateTable(board), {"a": "1/s", "b": None})
    there = Rates(RateTable(board), {"a": "1/s", "b": None})
    assert here.due("a", 100.0) == 0.0
    assert there.due("a", 100.0) == pytest.approx(101.0)
    assert "b" not in here.limited
    RateTable(board).change("a", 0.0)
    here.change("a", None)
    assert "a" not in here.limited
    assert "a" not in Rates(RateTable(board), {"a": "1/s"}).limited
    board.close()


def test_a_rate_limit_that_is_none_ends_the_start_and_names_its_task() -> None:
    app = Celery("proj", broker="memory://", set_as_current=False)
    app.task(name="proj.often", rate_limit="10/d", shared=False)(print)
    with pytest.raises(ImproperlyConfigured, match=r"proj\.often: '10/d' is no rate limit"):
        plan_of(app, WorkerOptions(app="proj"))
