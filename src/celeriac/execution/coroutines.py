"""Bodies that are coroutines. Where no event loop runs, each thread has one of its own, which lives on between tasks,
so that clients of its (sessions, pools) may. A result that can only be awaited or iterated is never a task's value.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Awaitable, Callable, Generator
from types import AsyncGeneratorType, CoroutineType, TracebackType
from typing import TYPE_CHECKING, Any

from ..client.result import ResultBase
from .arming import Call, calls_bodies

if TYPE_CHECKING:
    import asyncio  # an eighth of the start: imported by the first coroutine

#: Types of values that are results as they stand: all but a few values are of these, and cost one look.
PLAIN: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple, set})


class Guarded(Generator[Any, Any, Any], Awaitable[Any]):
    """A body's coroutine, awaited in `task`: a cancellation that `strike` asked for arrives in it as the exception it
    stands for."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self.task: asyncio.Task[Any] | None = None
        #: The body is on the stack of the loop's thread at this moment; it has been at all.
        self.on_stack = False
        self.begun = False
        #: What is to strike it, and whether it has.
        self.error: BaseException | None = None
        self.struck = False

    def strike(self, error: BaseException) -> None:
        """In the loop's thread. A body that has not begun is struck when it has."""
        if self.error is not error:
            self.error, self.struck = error, False
        if self.task is None or not self.begun:
            _later(self.strike, error)
        elif not self.struck and not self.task.done():
            self.task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self

    @calls_bodies
    def __next__(self) -> Any:
        try:
            self.on_stack = self.begun = True
            return self._body.send(None)
        finally:
            self.on_stack = False

    def send(self, value: Any) -> Any:
        return next(self)  # an event loop sends nothing else

    @calls_bodies
    def throw(self, kind: Any, value: Any = None, trace: TracebackType | None = None) -> Any:
        error = kind if value is None else value
        if self.error is not None and not self.struck and _is_cancellation(error):
            self.struck = True
            if self.task is not None:
                self.task.uncancel()
            error = self.error
        try:
            self.on_stack = True
            return self._body.throw(error)
        finally:
            self.on_stack = False

    def close(self) -> None:
        self._body.close()


@calls_bodies
def awaited(value: Any, call: Call | None = None) -> Any:
    """What a coroutine comes to, run armed by `call`; any other value as it is.

    Raises: TypeError for what nobody could read: an async generator, a future, an awaitable of another kind.
    """
    if isinstance(value, CoroutineType):
        value = _run(value) if call is None else call(_run, (value,), {})
    if isinstance(value, ResultBase):  # it can be awaited, but is a value as it stands: of eager runs, or pickled
        return value
    if isinstance(value, (AsyncGeneratorType, CoroutineType)) or hasattr(type(value), "__await__"):
        if isinstance(value, CoroutineType):
            value.close()
        raise TypeError(f"the task returned {type(value).__name__!r}, which is not a value: await or collect it first")
    return value


# -- in threads without a loop -----------------------------------------------------------------------------------------


class _Own(threading.local):
    runner: asyncio.Runner | None = None


_own = _Own()
#: The coroutines that run so now, by thread, with their loops.
_running: dict[int, tuple[Guarded, asyncio.AbstractEventLoop]] = {}
_refused = ""


def refuse(where: str) -> None:
    """No coroutine can be run in this process: loops are one a system thread, and all its tasks share one."""
    global _refused
    _refused = where


def interrupt(thread: int, error: BaseException) -> bool:
    """Strike the coroutine that the body of this thread waits for. False: there is none, or it is on the stack at this
    moment, where it may be struck like any other body. Safe in signal handlers."""
    guarded, loop = _running.get(thread, (None, None))
    if guarded is None or loop is None or guarded.on_stack:
        return False
    loop.call_soon_threadsafe(guarded.strike, error)
    return True


def in_loop(thread: int) -> bool:
    """Whether the body of this thread runs an event loop that is between two steps of its coroutine: the loop itself
    must not be struck."""
    guarded, _ = _running.get(thread, (None, None))
    return guarded is not None and not guarded.on_stack


@calls_bodies
def _run(coroutine: Any) -> Any:
    if _refused:
        coroutine.close()
        raise RuntimeError(f"an async def task cannot run in {_refused}: run it with another pool, best asyncio")
    import asyncio

    if asyncio._get_running_loop() is not None:  # called eagerly by another coroutine, whose loop this is
        coroutine.close()
        raise RuntimeError("an async def task cannot be run inside another one's event loop: await its function there")
    runner = _own.runner
    if runner is None:
        runner = _own.runner = asyncio.Runner()
    here, guarded = threading.get_ident(), Guarded(coroutine)
    try:
        _running[here] = guarded, runner.get_loop()
        # In a copy of the body's context: the running task, and what the body itself has set, are seen inside.
        return runner.run(_await(guarded), context=contextvars.copy_context())
    except BaseException as error:
        error.__traceback__ = _of_the_body(error.__traceback__)
        raise
    finally:
        del _running[here]


async def _await(guarded: Guarded) -> Any:
    import asyncio

    guarded.task = asyncio.current_task()
    return await guarded


def _of_the_body(trace: TracebackType | None) -> TracebackType | None:
    """Without the loop's part, and ours, at its beginning."""
    rest = trace
    while rest is not None and rest.tb_frame.f_globals.get("__name__", "").startswith(("asyncio.", __name__)):
        rest = rest.tb_next
    return rest or trace


def _is_cancellation(error: object) -> bool:
    import asyncio

    return isinstance(error, asyncio.CancelledError) or error is asyncio.CancelledError


def _later(call: Callable[..., object], *arguments: object) -> None:
    import asyncio

    asyncio.get_running_loop().call_soon(call, *arguments)
