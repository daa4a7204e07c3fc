"""The event loop lane: `async def` tasks on one loop in the main thread, everything else in threads beside it.

The runner itself then lives in a thread of its own; both sides hand over whole batches. A coroutine is interrupted as
asyncio does it, by a cancellation that arrives in its body as the exception it stands for; one that blocks the loop
instead of awaiting is struck by a signal, while the main thread is in its code.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from types import FrameType
from typing import Any

from ....brokers.base import Settlement
from ....client.task import Task
from ....execution.admission import Admitted
from ....execution.arming import AsyncArm, in_our_code
from ....execution.coroutines import Guarded
from ..sift import back
from .base import Ended, Tell, break_off
from .threads import ThreadLanes, Trace

#: `Tracer.trace_coroutine`.
TraceCoroutine = Callable[[Admitted, AsyncArm], Coroutine[Any, Any, Settlement | None]]

#: Threads for tasks that are no coroutines, at most.
MOST_THREADS = 32
#: Seconds after which a loop that has not taken a cancellation counts as blocked.
_BLOCKED = 0.05
#: What the main thread is interrupted by where a coroutine blocks it.
_SIGNAL = signal.SIGUSR1


class LoopLanes:
    """`Lanes`. The loop is uvloop's where it is installed."""

    def __init__(self, trace: Trace, trace_coroutine: TraceCoroutine, size: int, tell: Tell) -> None:
        self._trace_coroutine = trace_coroutine
        self._tell = tell
        self._threads = ThreadLanes(trace, min(MOST_THREADS, size), tell)
        self._loop = _new_loop()
        self._runs: dict[int, _Run] = {}
        self._is_coroutine: dict[str, bool] = {}
        self._main = threading.get_ident()
        self._to_strike: _Run | None = None

    def run(self, main: Callable[[], int]) -> int:
        ends: list[int | BaseException] = []

        def intake() -> None:
            try:
                ends.append(main())
            except BaseException as error:
                ends.append(error)
            finally:
                self._loop.call_soon_threadsafe(self._loop.stop)

        signal.signal(_SIGNAL, self._on_signal)
        asyncio.set_event_loop(self._loop)
        threading.Thread(target=intake, name="intake", daemon=True).start()
        while not ends:
            try:
                self._loop.run_forever()
            except BaseException:  # SystemExit of a callback that a task left behind: it ends no runner
                continue
        end = ends[0]
        if isinstance(end, BaseException):
            raise end
        return end

    def room(self, work: Admitted, before: int) -> bool:
        return self._awaits(work.task) or self._threads.room(work, before)

    def submit(self, batch: Sequence[tuple[int, Admitted]]) -> None:
        awaiting = [item for item in batch if self._awaits(item[1].task)]
        if awaiting:
            for lane, work in awaiting:
                self._runs[lane] = _Run(work.delivery.receipt)
            self._loop.call_soon_threadsafe(self._begin, awaiting)
        if len(awaiting) < len(batch):
            self._threads.submit([item for item in batch if not self._awaits(item[1].task)])

    def interrupt(self, lane: int, receipt: int, error: BaseException) -> bool:
        run = self._runs.get(lane)
        if run is None or run.receipt != receipt:
            return self._threads.interrupt(lane, receipt, error)
        if run.error is not error:
            run.error, run.asked = error, time.monotonic()
            self._loop.call_soon_threadsafe(run.strike, error)
        elif not run.struck and time.monotonic() - run.asked > _BLOCKED:
            self._to_strike = run
            signal.pthread_kill(self._main, _SIGNAL)
        return run.struck

    # -- in the loop -------------------------------------------------------------------------------------------------

    def _begin(self, batch: Sequence[tuple[int, Admitted]]) -> None:
        for lane, work in batch:
            run = self._runs[lane]
            began = time.monotonic()
            run.task = self._loop.create_task(self._trace_coroutine(work, run.guard))
            run.task.add_done_callback(partial(self._over, lane, work, began))

    def _over(self, lane: int, work: Admitted, began: float, task: asyncio.Task[Settlement | None]) -> None:
        run = self._runs.pop(lane)
        # Cancelled before it began: by somebody who cancels all tasks that he finds.
        unbegun = task.cancelled() or task.exception() is not None
        if unbegun and run.guarded is not None:
            break_off(work, asyncio.CancelledError() if task.cancelled() else task.exception() or SystemExit())
        settlement = back(work.delivery) if unbegun else task.result()
        self._tell(Ended(lane, work, settlement, time.monotonic() - began))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        run, self._to_strike = self._to_strike, None
        guarded = None if run is None else run.guarded
        if run is None or guarded is None or run.error is None or run.struck:
            return
        if guarded.on_stack and not in_our_code(frame):
            guarded.error, guarded.struck = run.error, True
            raise run.error

    def _awaits(self, task: Task[..., Any]) -> bool:
        known = self._is_coroutine.get(task.name)
        if known is None:
            body = task.run if type(task).__call__ is Task.__call__ else type(task).__call__
            known = self._is_coroutine[task.name] = inspect.iscoroutinefunction(body)
        return known


class _Run:
    """One coroutine on the loop, from the hand-over on."""

    __slots__ = ("asked", "error", "guarded", "receipt", "task")

    def __init__(self, receipt: int) -> None:
        self.receipt = receipt
        self.task: asyncio.Task[Settlement | None] | None = None
        self.guarded: Guarded | None = None
        #: What it is to be struck with, and since when.
        self.error: BaseException | None = None
        self.asked = 0.0

    def guard(self, body: Awaitable[Any]) -> Awaitable[Any]:
        self.guarded = Guarded(body)
        self.guarded.task = self.task
        return self.guarded

    @property
    def struck(self) -> bool:
        return self.guarded is not None and self.guarded.error is self.error and self.guarded.struck

    def strike(self, error: BaseException) -> None:
        """In the loop."""
        if self.guarded is not None:
            self.guarded.strike(error)
        else:
            asyncio.get_running_loop().call_soon(self.strike, error)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
