"""`LazyTask`: what `@app.task` returns until it is first looked at; then it *becomes* the task.

Making a task reads the app's settings, and modules are imported before apps are configured. Celery leaves a proxy in the
module for ever; here the object changes its class once, and from then on costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task

__all__ = ["LazyTask", "settle"]


class LazyTask:
    """A task that is not made yet. Any attribute, call or comparison makes it."""

    def __init__(self, make: Callable[[LazyTask], Task[..., Any]], lock: AbstractContextManager[Any]) -> None:
        """`make` returns the task, having registered the LazyTask in its place; `lock` is reentrant, the app's own."""
        object.__setattr__(self, "_make", make)
        object.__setattr__(self, "_lock", lock)

    def __getattribute__(self, name: str) -> Any:
        return getattr(settle(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(settle(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(settle(self), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return settle(self)(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(settle(self))

    def __or__(self, other: Any) -> Any:
        return settle(self) | other

    def __dir__(self) -> list[str]:
        return dir(settle(self))


def settle(lazy: Any) -> Any:
    """The task: the very object given, now of the task's class.

    Raises: whatever making it raises (it stays lazy then, and the next look tries again).
    """
    if type(lazy) is not LazyTask:
        return lazy
    state = object.__getattribute__(lazy, "__dict__")
    lock = state.get("_lock")
    if lock is None:  # another thread is done with it
        return lazy
    with lock:
        if type(lazy) is not LazyTask:
            return lazy
        task = state["_make"](lazy)
        state.clear()
        state.update(vars(task))
        # From here on `lazy` is an instance of the task's class, with the state of the instance that was made.
        object.__setattr__(lazy, "__class__", type(task))
    return lazy
