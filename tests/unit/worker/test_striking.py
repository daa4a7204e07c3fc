"""The main thread's arm: a strike hits the body of the run it is meant for, and nothing of ours."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from celeriac.brokers.base import Delivery
from celeriac.client.request import Context
from celeriac.errors import SoftTimeLimitExceeded
from celeriac.execution.admission import Admitted
from celeriac.execution.arming import calls_bodies
from celeriac.execution.limits import Limits
from celeriac.foundation import identifiers
from celeriac.worker.runner.striking import ENDING, STRIKE, MainThread
from celeriac.worker.supervisor.board import Board


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board()
    yield board
    board.close()


@pytest.fixture
def arm(board: Board) -> Iterator[MainThread]:
    kept = {number: signal.getsignal(number) for number in (STRIKE, *ENDING)}
    arm = MainThread(board.desk(0), lambda limit, work: None, alone=True)
    signal.signal(STRIKE, arm.strike)
    yield arm
    for number, handler in kept.items():
        signal.signal(number, handler)


def work(receipt: int) -> Admitted:
    task: Any = SimpleNamespace(name="t")
    return Admitted(Delivery("q", receipt, b""), task, Context(id="i"), (), {}, limits=Limits(soft=0.01))


def begin(arm: MainThread, board: Board, receipt: int, until: float) -> None:
    board.desk(0).start(receipt, 0.0, until, 0.0)
    arm.expect(work(receipt), until)


def hit() -> None:
    os.kill(os.getpid(), STRIKE)


def test_it_strikes_an_overdue_body_once(arm: MainThread, board: Board) -> None:
    begin(arm, board, 7, time.monotonic() - 1)
    with pytest.raises(SoftTimeLimitExceeded):
        arm.call(7, hit, (), {})
    assert board.runs(0)[0].soft == 0.0  # the supervisor sees that it struck
    hit()  # after the body nothing is struck

    def twice() -> str:
        try:
            hit()
        except SoftTimeLimitExceeded:
            hit()
            return "tidied"
        return "not struck"

    begin(arm, board, 8, time.monotonic() - 1)
    assert arm.call(8, twice, (), {}) == "tidied"


@pytest.mark.parametrize("until", [0.0, 1e12], ids=["no limit", "not yet"])
def test_it_does_not_strike_one_that_may_go_on(arm: MainThread, board: Board, until: float) -> None:
    begin(arm, board, 7, until)
    arm.call(7, hit, (), {})


def test_it_waits_while_our_own_code_is_on_the_stack(arm: MainThread, board: Board) -> None:
    """`uuid4_text` stands for whatever of ours a body calls: the signal comes while it runs."""
    body_calls: Callable[..., Any] = _ours(hit)
    begin(arm, board, 7, time.monotonic() - 1)
    arm.call(7, body_calls, (), {})
    begin(arm, board, 7, time.monotonic() - 1)
    with pytest.raises(SoftTimeLimitExceeded):
        arm.call(7, calls_bodies(_ours(hit, marked=True)), (), {})


def test_a_body_that_waits_in_our_code_is_told_at_a_safe_point(arm: MainThread, board: Board) -> None:
    """Once, and not where it would break off more of ours than the wait that the body began."""
    begin(arm, board, 7, time.monotonic() - 1)
    with pytest.raises(SoftTimeLimitExceeded):
        arm.call(7, _ours(arm.look), (), {})
    assert board.runs(0)[0].soft == 0.0
    assert arm.look() > 0  # after the body
    begin(arm, board, 8, time.monotonic() - 1)
    ours_calls_a_callback: Any = _ours(lambda: arm.look() and None)
    arm.call(8, ours_calls_a_callback, (), {})
    begin(arm, board, 9, time.monotonic() + 0.5)
    assert 0 < arm.call(9, lambda: arm.look(), (), {}) <= 0.5


def _ours(call: Callable[[], None], marked: bool = False) -> Callable[[], None]:
    """A function that looks as if it stood in one of our modules."""
    namespace: dict[str, Any] = {"__name__": identifiers.__name__, "call": call}
    exec(f"def ours_{int(marked)}():\n    call()\n", namespace)
    function: Callable[[], None] = namespace[f"ours_{int(marked)}"]
    return function


def test_a_coroutine_is_struck_where_it_waits(arm: MainThread, board: Board) -> None:
    from celeriac.execution.coroutines import awaited

    async def body() -> str:
        import asyncio

        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            return "tidied"
        return "not struck"

    begin(arm, board, 7, time.monotonic() - 1)
    timer = threading.Timer(0.2, hit)
    timer.start()
    assert awaited(body(), lambda function, args, kwargs: arm.call(7, function, args, kwargs)) == "tidied"
    timer.join()
