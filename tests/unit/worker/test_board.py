"""The board: what a runner shows and what its supervisor says, each seen by the other."""

from __future__ import annotations

import os

from celeriac.worker.supervisor.board import PENDING, Board


def test_each_side_sees_what_the_other_wrote() -> None:
    board = Board(2)
    desk = board.desk(1)
    desk.turn()
    desk.start(41, 12.5)
    board.allow(1, 99.0)
    board.withdraw(1, 41, PENDING)
    assert board.running(1) == (41, 12.5, 1)
    assert desk.leave() == (99.0, 41, PENDING)
    assert board.running(0) == (0, 0.0, 0)
    board.close()


def test_another_process_sees_the_same() -> None:
    board = Board(1)
    pid = os.fork()
    if pid == 0:
        Board(1, os.dup(board.fd)).desk(0).start(7, 1.0)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.running(0)[0] == 7
    board.close()


def test_a_new_runner_begins_with_a_clean_slot_and_may_start_nothing() -> None:
    board = Board(1)
    board.desk(0).start(7, 1.0)
    board.allow(0, 50.0)
    board.reset(0)
    assert board.running(0) == (0, 0.0, 0)
    assert board.desk(0).leave() == (0.0, 0, 0)
    board.close()
