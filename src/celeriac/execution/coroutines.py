"""Bodies that are coroutines, where no event loop runs: each thread has one of its own, which lives on between tasks,
so that clients of its (sessions, pools) may. A result that can only be awaited or iterated is never a task's value."""

from __future__ import annotations

import contextvars
import threading
from types import AsyncGeneratorType, CoroutineType
from typing import TYPE_CHECKING, Any

from .arming import Call, calls_bodies

if TYPE_CHECKING:
    import asyncio  # an eighth of the start: imported by the first coroutine

#: Types of values that are results as they stand: all but a few values are of these, and cost one look.
PLAIN: frozenset[type] = frozenset({type(None), bool, int, float, str, bytes, list, dict, tuple, set})


class _Own(threading.local):
    runner: asyncio.Runner | None = None


_own = _Own()


def awaited(value: Any, call: Call | None = None) -> Any:
    """What a coroutine comes to, run armed by `call`; any other value as it is.

    Raises: TypeError for what nobody could read: an async generator, a future, an awaitable of another kind.
    """
    if isinstance(value, CoroutineType):
        value = _run(value) if call is None else call(_run, (value,), {})
    if isinstance(value, (AsyncGeneratorType, CoroutineType)) or hasattr(type(value), "__await__"):
        if isinstance(value, CoroutineType):
            value.close()
        raise TypeError(f"the task returned {type(value).__name__!r}, which is not a value: await or collect it first")
    return value


@calls_bodies
def refuse(where: str) -> None:
    """No coroutine can be run in this process: loops are one a system thread, and all its tasks share one."""
    global _refused
    _refused = where


_refused = ""


def _run(coroutine: Any) -> Any:
    if _refused:
        coroutine.close()
        raise RuntimeError(
            f"an async def task cannot run in {_refused}: run it with another pool, best asyncio"
        )
    runner = _own.runner
    if runner is None:
        import asyncio

        runner = _own.runner = asyncio.Runner()
    # In a copy of the body's context: the running task, and what the body itself has set, are seen inside.
    return runner.run(coroutine, context=contextvars.copy_context())
