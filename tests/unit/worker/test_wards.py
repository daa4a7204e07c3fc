"""Limits that are far away keep nothing of runs that are over."""

from __future__ import annotations

import gc

from celeriac.brokers.base import Delivery
from celeriac.client.request import Context
from celeriac.execution.admission import Admitted
from celeriac.execution.limits import Limits
from celeriac.worker.runner.wards import Wards
from celeriac.worker.supervisor.board import Board


class NoLanes:
    """Nothing is to be interrupted here."""


def test_runs_that_are_over_are_let_go() -> None:
    board = Board(1, 2)
    running: dict[int, Admitted] = {}
    wards = Wards(NoLanes(), board.desk(0), running, print)  # type: ignore[arg-type]
    for receipt in range(1, 2001):
        work = Admitted(Delivery("q", receipt, b""), None, Context(id="1"), (), {}, limits=Limits(300.0, 600.0))
        running[0] = work
        wards.begin([(0, work)], 1.0)
        wards.tick(1.0)
    gc.collect()
    kept = [each for each in gc.get_objects() if isinstance(each, Admitted) and each.limits == Limits(300.0, 600.0)]
    assert len(kept) < 200
    assert board.limited(0) == 601.0
    running.clear()
    wards.tick(2.0)
    assert board.limited(0) == 0.0
    board.close()
