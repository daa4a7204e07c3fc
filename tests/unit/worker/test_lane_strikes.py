"""Interruption of one run among many: it strikes that run, in its body, and nothing else."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from celeriac import Celery
from celeriac.brokers.base import Delivery
from celeriac.client.request import Context
from celeriac.errors import SoftTimeLimitExceeded
from celeriac.execution.admission import Admitted
from celeriac.execution.records import Records
from celeriac.execution.settling import Settling
from celeriac.execution.tracer import Tracer
from celeriac.worker.runner.lanes.base import Ended, Lanes
from celeriac.worker.runner.lanes.loop import LoopLanes
from celeriac.worker.runner.lanes.threads import ThreadLanes
from tests.processes import until

LANES = 4


class Bench:
    """Lanes of one kind, and an app whose outcomes are read from their settlements."""

    def __init__(self, kind: str) -> None:
        self.app = Celery("strikes", broker="memory://strikes", backend="memory://strikes", set_as_current=False)
        tracer = Tracer(Settling(self.app, Records(self.app, lambda: datetime.now(UTC))))
        self.ended: dict[int, Ended] = {}
        self.lanes: Lanes
        if kind == "threads":
            self.lanes = ThreadLanes(tracer.trace, LANES, self._tell)
        else:
            self.lanes = LoopLanes(tracer.trace, tracer.trace_coroutine, LANES, self._tell)

    def _tell(self, ended: Ended) -> None:
        self.ended[ended.work.delivery.receipt] = ended

    def begin(self, lane: int, receipt: int, task: Any, *args: Any) -> None:
        request = Context(id=f"id-{receipt}", task=task.name, args=list(args), kwargs={})
        self.lanes.submit([(lane, Admitted(Delivery("q", receipt, b""), task, request, args, {}))])

    def outcome(self, receipt: int) -> tuple[str, Any]:
        """State and result, once it has ended."""
        until(lambda: receipt in self.ended, what=f"run {receipt} has ended")
        settlement = self.ended[receipt].settlement
        assert settlement is not None
        assert settlement.record is not None
        document = json.loads(settlement.record.document)
        return document["status"], document["result"]

    def strike(self, lane: int, receipt: int, error: BaseException) -> None:
        """As a runner does: until it has struck, or is too late."""
        until(lambda: self.lanes.interrupt(lane, receipt, error) or receipt in self.ended, what="it strikes")


@pytest.fixture(params=["threads", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[Bench], None]], None]]:
    """Runs a part in the place of a runner, with the lanes there."""

    def play(part: Callable[[Bench], None]) -> None:
        bench = Bench(request.param)

        def main() -> int:
            part(bench)
            return 0

        try:
            assert bench.lanes.run(main) == 0
        finally:
            bench.app.close()

    yield play
    asyncio.set_event_loop(None)


Run = Callable[[Callable[[Bench], None]], None]
caught = SoftTimeLimitExceeded


def spins() -> str:
    try:
        while True:
            time.sleep(0.001)
    except caught as error:
        return f"caught {error.args[0]}"


async def awaits() -> str:
    try:
        await asyncio.sleep(60)
    except caught as error:
        await asyncio.sleep(0)  # the cancellation is over
        return f"caught {error.args[0]}"
    return "slept"


async def blocks() -> str:
    """Its loop, where it runs on one with others."""
    try:
        while True:
            pass
    except caught as error:
        return f"caught {error.args[0]}"


def test_strikes_are_seen_by_the_body_they_are_meant_for(run: Run) -> None:
    """A body that sleeps in Python, one that awaits, one that blocks its loop; each may catch it. Others go on."""
    gate = threading.Event()

    def waits() -> str:
        return "in peace" if gate.wait(60) else "struck"

    def part(bench: Bench) -> None:
        tasks = [bench.app.task(body) for body in (spins, awaits, blocks)]
        bench.begin(0, 1, bench.app.task(waits))
        for receipt, task in enumerate(tasks * 2, start=2):
            bench.begin(1, receipt, task)
            assert not bench.lanes.interrupt(0, receipt, SoftTimeLimitExceeded(0))
            bench.strike(1, receipt, SoftTimeLimitExceeded(receipt))
            assert bench.outcome(receipt) == ("SUCCESS", f"caught {receipt}")
            assert not bench.lanes.interrupt(1, receipt, SoftTimeLimitExceeded(0))
        gate.set()
        assert bench.outcome(1) == ("SUCCESS", "in peace")

    run(part)


def test_a_strike_that_comes_with_the_end_harms_nobody(run: Run) -> None:
    """Bodies that end just when they are struck: each ends one way or the other, and its lane takes the next."""
    rng = random.Random(4)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(2e-4)  # or nobody would be struck within a millisecond

    def part(bench: Bench) -> None:
        @bench.app.task
        def brief(seconds: float) -> str:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass
            return "done"

        outcomes = []
        for receipt in range(1, 301):
            bench.begin(receipt % LANES, receipt, brief, rng.uniform(0, 0.002))
            time.sleep(rng.uniform(0, 0.001))
            bench.lanes.interrupt(receipt % LANES, receipt, SoftTimeLimitExceeded(receipt))
            state, result = bench.outcome(receipt)
            assert result in ("done",) or result["exc_message"] == [receipt], result
            outcomes.append(state)
        assert {"SUCCESS", "FAILURE"} == set(outcomes)

    try:
        run(part)
    finally:
        sys.setswitchinterval(interval)


def test_nothing_strikes_inside_of_our_own_code(run: Run) -> None:
    """A body in `get` is struck when it comes out: not with our locks in its hands."""

    seen: list[str] = []

    def part(bench: Bench) -> None:
        @bench.app.task
        def asks() -> None:
            while True:
                seen.append(bench.app.AsyncResult("nothing").state)

        bench.begin(0, 1, asks)
        until(lambda: len(seen) > 100, what="it is at it")
        bench.strike(0, 1, SoftTimeLimitExceeded(1))
        state, result = bench.outcome(1)
        assert (state, result["exc_type"]) == ("FAILURE", "SoftTimeLimitExceeded")
        settlement = bench.ended[1].settlement
        assert settlement is not None
        assert settlement.record is not None
        assert b"celeriac/" not in settlement.record.document
        assert bench.app.AsyncResult("nothing").state == "PENDING"

    run(part)


@pytest.mark.parametrize("kind", ["threads", "asyncio"])
def test_an_error_beside_a_body_ends_the_process_and_not_the_lane_alone(kind: str) -> None:
    script = f"""
        import logging
        from tests.unit.worker.test_lane_strikes import Bench

        bench = Bench({kind!r})

        @bench.app.task
        {"async " if kind == "asyncio" else ""}def task():
            logging.getLogger("celery.app.trace").addFilter(lambda record: exit(3))
            logging.getLogger("celery.app.trace").setLevel("INFO")

        def main():
            bench.begin(0, 1, task)
            return bench.outcome(1) and 0

        raise SystemExit(bench.lanes.run(main))
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 70, ended.stderr.decode()
