"""`LazyTask`: what `@app.task` returns until it is first looked at; then it *becomes* the task.

Making a task reads the app's settings, and modules are imported before apps are configured. Celery leaves a proxy in
the module for ever; here the object changes its class once, and from then on costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

if TYPE_CHECKING:
    from .task import Task

__all__ = ["LazyTask", "settle"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class LazyTask(Generic[P, R_co]):  # generic as Task is, so that both have one layout in memory
    """A task that is not made yet. Any attribute or call makes it."""

    def __init__(
        self,
        make: Callable[[], Task[P, R_co]],
        registry: MutableMapping[str, Any],
        lock: AbstractContextManager[Any],
    ) -> None:
        """`make` makes the task and puts it into `registry`; `lock` is reentrant, the app's own."""
        object.__getattribute__(self, "__dict__").update(make=make, registry=registry, lock=lock)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            # `isinstance` compares this with the type it saw a moment ago: the type must not change in between.
            return type(_made(self))
        return getattr(settle(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(settle(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(settle(self), name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return settle(self)(*args, **kwargs)  # type: ignore[no-any-return]

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
    lock = state.get("lock")
    if lock is None:  # done: by another thread just now, or as far as it goes (see `_become`)
        return state.get("task", lazy)
    with lock:
        task = _made(lazy)
        return _become(lazy, state, task, state["registry"]) if "registry" in state else task


def _made(lazy: Any) -> Any:
    """The task, made but not become."""
    state = object.__getattribute__(lazy, "__dict__")
    lock = state.get("lock")
    if lock is None:
        return state.get("task", lazy)
    with lock:
        if "make" in state:
            state["task"] = state["make"]()
            del state["make"]
        return state.get("task", lazy)


def _become(lazy: Any, state: dict[str, Any], task: Any, registry: MutableMapping[str, Any]) -> Any:
    state.clear()
    state.update(vars(task))
    try:
        # From here on `lazy` is an instance of the task's class, with the state of the instance that was made.
        object.__setattr__(lazy, "__class__", type(task))
    except TypeError:
        # The base class has slots, or a parent beside Task: other layouts in memory. It forwards for ever, then.
        state.clear()
        state["task"] = task
        return task
    name: str = task.name
    if registry.get(name) is task:
        registry[name] = lazy
    return lazy
