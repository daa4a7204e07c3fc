"""The board: what a runner shows and what its supervisor says, each seen by the other."""

from __future__ import annotations

import os

import pytest

from celeriac.errors import ImproperlyConfigured
from celeriac.worker.supervisor.board import PENDING, Board, Run


def test_each_side_sees_what_the_other_wrote() -> None:
    board = Board(slots=2)
    desk = board.desk(1)
    desk.turn()
    desk.start(41, 12.5)
    board.allow(1, 99.0)
    board.withdraw(1, 41, PENDING)
    assert board.runs(1) == [Run(41, 12.5, 0.0, 0.0)]
    assert (board.last(1), board.turns(1)) == ((41, 12.5), 1)
    assert desk.leave() == (99.0, 41, PENDING)
    assert (board.runs(0), board.last(0), board.turns(0)) == ([], (0, 0.0), 0)
    board.close()


def test_another_process_sees_the_same() -> None:
    board = Board()
    pid = os.fork()
    if pid == 0:
        Board(fd=os.dup(board.fd)).desk(0).start(7, 1.0)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.last(0)[0] == 7
    board.close()


def test_a_new_runner_begins_with_a_clean_slot_and_may_start_nothing() -> None:
    board = Board()
    board.desk(0).start(7, 1.0)
    board.allow(0, 50.0)
    board.reset(0)
    assert (board.runs(0), board.turns(0)) == ([], 0)
    assert board.desk(0).leave() == (0.0, 0, 0)
    board.close()


def test_many_lanes_show_what_runs_in_each_of_them() -> None:
    board = Board(slots=2, lanes=3)
    first, third = board.desk(1, 0), board.desk(1, 2)
    first.start(5, 1.0, 2.0, 3.0)
    third.start(9, 4.0)
    third.last(9, 4.0)
    assert board.runs(1) == [Run(5, 1.0, 2.0, 3.0), Run(9, 4.0, 0.0, 0.0)]
    assert board.last(1) == (9, 4.0)
    assert board.runs(0) == []
    board.end(1, 9, 15)
    assert first.ending() == third.ending() == (9, 15)
    board.close()


def test_more_runners_than_the_board_has_room_for_are_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="5000 processes of 10000 slots"):
        Board(slots=5000, lanes=10_000)
