"""What begins in many lanes at once, beside a supervisor that gives back; and suspects, which need an empty runner."""

from __future__ import annotations

from typing import Any

import pytest

from celeriac.brokers.base import Delivery
from celeriac.client.request import Context
from celeriac.execution.admission import Admitted
from celeriac.worker.runner.drought import Drought
from celeriac.worker.runner.roster import Begun, Roster
from celeriac.worker.supervisor.board import ALL, PENDING, Board
from celeriac.worker.supervisor.give_back import GiveBack

LANES = 3


@pytest.fixture
def board() -> Any:
    board = Board(1, LANES)
    board.allow(0, 100.0)
    yield board
    board.close()


@pytest.fixture
def roster(board: Board) -> Roster:
    return Roster([board.desk(0, lane) for lane in range(LANES)], lambda work: (0.0, 0.0))


def work(receipt: int) -> Admitted:
    return Admitted(Delivery("q", receipt, b""), None, Context(id=str(receipt)), (), {})


def receipts(begun: Begun) -> list[int]:
    return [place[1].delivery.receipt for place in begun.places]


def running(board: Board) -> set[int]:
    return {run.receipt for run in board.runs(0)}


def test_what_begins_is_on_the_board_and_the_last_is_the_highest(roster: Roster, board: Board) -> None:
    assert receipts(roster.begin([work(1), work(3)], 1.0)) == [1, 3]
    assert (running(board), board.last(0), roster.free) == ({1, 3}, (3, 1.0), 1)
    # One that was held longer must not make those after it look as if they had not begun.
    assert receipts(roster.begin([work(2)], 2.0)) == [2]
    assert (running(board), board.last(0), roster.free) == ({1, 2, 3}, (3, 2.0), 0)
    for lane in list(roster.running):
        roster.end(lane, 3.0)
    assert (running(board), board.last(0), roster.free) == (set(), (0, 3.0), LANES)


def test_nothing_begins_while_it_is_found_out_what_goes_back(roster: Roster, board: Board) -> None:
    roster.begin([work(1)], 1.0)
    board.withdraw(0, 1, PENDING)
    begun = roster.begin([work(2), work(3)], 2.0)
    assert (begun.places, [each.delivery.receipt for each in begun.later]) == ([], [2, 3])
    assert (running(board), board.last(0)[0]) == ({1}, 1)
    board.withdraw(0, 1, 2)
    assert receipts(roster.begin(begun.later, 3.0)) == [3]
    assert (running(board), board.last(0)[0], roster.free) == ({1, 3}, 3, 1)


def test_what_went_back_is_known_when_something_later_begins(roster: Roster, board: Board) -> None:
    roster.begin([work(1)], 1.0)
    board.withdraw(0, 1, 3)  # 2 and 3, one of which no lane was free for
    begun = roster.begin([work(4)], 2.0)
    assert (receipts(begun), begun.news) == ([4], True)
    board.withdraw(0, 4, PENDING)  # now the board says that no more
    assert [roster.went_back(work(receipt)) for receipt in (1, 2, 3, 4, 5)] == [False, True, True, False, False]


def test_limits_begin_when_what_is_acknowledged_early_does(board: Board) -> None:
    roster = Roster([board.desk(0, lane) for lane in range(LANES)], lambda work: (5.0, 10.0))
    early = work(1)
    early.early = True
    begun = roster.begin([early, work(2)], 1.0)
    assert {run.receipt: run.hard for run in board.runs(0)} == {1: 0.0, 2: 11.0}
    early.acknowledge()
    roster.acknowledged(begun.places[:1], 3.0)
    assert {run.receipt: run.hard for run in board.runs(0)} == {1: 13.0, 2: 11.0}


class Orders(list[int]):
    """What upkeep was asked to give back."""

    def give_back(self, slot: int, consumer: str, low: int) -> None:
        self.append(low)


def test_what_went_back_stays_so_when_more_is_to_go(board: Board) -> None:
    board.shape(1, 1)
    orders = Orders()
    give_back = GiveBack(board, orders)
    board.withdraw(0, 5, 10)
    board.desk(0).start(7, 1.0)  # it looks only now, and passes it over
    give_back.behind(0, "c", 7)
    assert (orders, board.withdrawn(0)) == ([], (5, 10))
    give_back.behind(0, "c", 11)  # which has just ended
    assert (orders, board.withdrawn(0)) == ([], (5, 10))
    board.desk(0).start(12, 2.0)
    give_back.behind(0, "c", 12)
    assert (orders, board.withdrawn(0)) == ([12], (12, PENDING))
    board.desk(0).start(13, 3.0)  # for a moment, and sees that
    give_back.behind(0, "c", 13)
    assert (orders, board.withdrawn(0)) == ([12], (12, PENDING))


def test_nothing_begins_without_a_lease(roster: Roster, board: Board) -> None:
    begun = roster.begin([work(1)], 100.5)
    assert (begun.places, len(begun.later), running(board)) == ([], 1, set())
    board.withdraw(0, 0, ALL)  # another node has it
    assert roster.begin(begun.later, 101.0) == Begun([])
    assert (running(board), roster.free) == (set(), LANES)


def test_a_suspect_gets_its_turn_and_ordinary_work_goes_on() -> None:
    drought = Drought()
    tries = []
    now = 0.0
    while now < 200.0:  # a runner that is never empty
        drought.seen(True, now)
        if left := drought.left(now):
            tries.append(left)
            now += left
        now += 0.1
    assert tries == pytest.approx([1.0, 2.0, 4.0, 8.0, 16.0], abs=0.5)
    drought.seen(False, now)
    drought.seen(True, now + 1000.0)
    assert drought.left(now + 1000.0) == pytest.approx(1.0)
