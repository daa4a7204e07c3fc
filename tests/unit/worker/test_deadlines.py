"""Hard limits where many run in a process: whose process is ended for one of them, and who ends with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from celeriac.worker.lines import Line
from celeriac.worker.supervisor.board import Board
from celeriac.worker.supervisor.deadlines import MERCY, Deadlines
from celeriac.worker.supervisor.fates import TimedOut
from celeriac.worker.supervisor.process import Mode, RunnerHandle


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board(slots=1, lanes=3)
    yield board
    board.close()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_all_that_had_its_time_ends_with_the_process_of_one(board: Board, process: subprocess.Popen[bytes]) -> None:
    """Told to end, and slower by a few milliseconds: put back, it would run again to its limit, and cost a process."""
    line, other = Line.pair()
    handle = RunnerHandle(slot=0, consumer="n/0.1", line=line, since=0.0, pid=process.pid, mode=Mode.READY)
    for lane, (receipt, hard) in enumerate([(1, 10.0), (2, 10.3), (3, 60.0)]):
        board.desk(0, lane).start(receipt, 5.0, 0.0, hard)
    board.desk(0).limited(10.0)
    deadlines = Deadlines(board)
    deadlines.look([handle], 10.0 + MERCY / 2)
    assert not handle.killed_for
    deadlines.look([handle], 10.0 + MERCY)
    assert handle.fates == {1: TimedOut(5), 2: TimedOut(5.3)}
    assert process.wait(timeout=10) == -9
    line.close()
    other.close()
