"""What coroutines call: `await result`, `result.aget()`, `async for` over a set of results, `task.adelay()`.

Parts of `AsyncResult` and `ResultSet`, and what `Task` sends by. asyncio is imported by the first of these calls.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from ..errors import TimeoutError
from .awaiting import Arriving
from .joining import assert_will_not_block

if TYPE_CHECKING:
    from .result import AsyncResult
    from .task import Task

R_co = TypeVar("R_co", covariant=True)

Callback = Callable[[str, Any], Any]


class AwaitableOne(Generic[R_co]):
    """Part of `AsyncResult`."""

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        follow_parents: bool = True,
        callback: Callback | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R_co:
        """`get` for coroutines: the loop goes on meanwhile, and a wait that is cancelled leaves nothing behind.

        `await result` is `await result.aget()`. Arguments and errors are those of `get`; the error of a parent is
        raised as soon as it is there. Not in Celery.
        """
        me = cast("AsyncResult[R_co]", self)
        if me._ignored:
            return cast("R_co", None)
        if disable_sync_subtasks:
            assert_will_not_block()
        if me._cache is None:
            await _within(timeout, partial(_one, me, _parents(me) if follow_parents and propagate else []), me.ready)
        return cast("R_co", me.maybe_throw(propagate=propagate, callback=callback))

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aget().__await__()


class AwaitableSet:
    """Part of `ResultSet`."""

    if TYPE_CHECKING:

        def _leaves(self) -> Iterator[AsyncResult[Any]]: ...

        def _values(self, propagate: bool) -> list[Any]: ...

        def ready(self) -> bool: ...

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        callback: Callback | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """`get` for coroutines: `await group_result` is `await group_result.aget()`. Not in Celery."""
        if disable_sync_subtasks:
            assert_will_not_block()
        await _within(timeout, partial(_all, list(self._leaves()), propagate, callback), self.ready)
        return None if callback is not None else self._values(propagate)

    def __await__(self) -> Generator[Any, None, Any]:
        return self.aget().__await__()

    def __aiter__(self) -> Arriving:
        """The single results, each when it has ended, well or not: `async for member in group_result: …`."""
        assert_will_not_block()
        return Arriving(self._leaves())


async def send(task: Task[..., Any], args: Any, kwargs: Any, options: Mapping[str, Any]) -> AsyncResult[Any]:
    """`task.apply_async` in a thread of the loop's executor: those of many coroutines share the batches of the
    publisher. One that is cancelled may have been sent."""
    import asyncio

    return await asyncio.to_thread(task.apply_async, args, kwargs, **options)


async def _within(timeout: float | None, wait: Callable[[], Any], look: Callable[[], bool]) -> None:
    """`wait()`, for so many seconds. Raises: celeriac's TimeoutError."""
    import asyncio

    if timeout is not None and timeout <= 0:
        if not await asyncio.to_thread(look):
            raise TimeoutError("The operation timed out.")
        timeout = None
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            await wait()
    except builtins.TimeoutError:
        if limit.expired():
            raise TimeoutError("The operation timed out.") from None
        raise


async def _one(result: AsyncResult[Any], parents: list[AsyncResult[Any]]) -> None:
    with Arriving([*parents, result]) as arriving:
        async for ended in arriving:
            if ended is result:
                return
            ended.maybe_throw()


async def _all(results: list[AsyncResult[Any]], propagate: bool, callback: Callback | None) -> None:
    with Arriving(results) as arriving:
        async for ended in arriving:
            value = ended.maybe_throw(propagate=propagate)
            if callback is not None:
                callback(ended.id, value)


def _parents(result: AsyncResult[Any]) -> list[AsyncResult[Any]]:
    """The single results before this one, the first of the chain first."""
    found: list[AsyncResult[Any]] = []
    for node in reversed(list(result._parents())):
        leaves = getattr(node, "_leaves", None)
        found.extend(leaves() if leaves is not None else [node])
    return found
