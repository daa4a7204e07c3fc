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

__all__ = ["LazyTask", "Promise", "settle"]

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


#: Key of the promise in the state of a LazyTask; no attribute of a task has this name.
_PROMISE = "<promise>"


class Promise:
    """How one task is made, once."""

    def __init__(
        self,
        prepare: Callable[[], object],
        make: Callable[[], tuple[Task[..., Any], bool]],
        registry: MutableMapping[str, Any],
        lock: AbstractContextManager[Any],
    ) -> None:
        """`make` gives the task, which it has put into `registry`, and whether it is a new one.

        `lock` is reentrant, the app's own. What may import modules is done by `prepare`, before the lock is taken:
        a thread that imports holds locks as well.
        """
        self._prepare, self._make = prepare, make
        self._registry, self._lock = registry, lock
        self._task: Any = None
        self._is_new = True

    def task(self) -> Any:
        """The task as it was made."""
        if self._task is None:
            self._prepare()
            with self._lock:
                if self._task is None:
                    self._task, self._is_new = self._make()
        return self._task

    def kept_by(self, lazy: Any) -> Any:
        """Have `lazy` become the task, if it can; it forwards for ever otherwise. Returns whichever is the task."""
        task = self.task()
        with self._lock:
            if type(lazy) is not LazyTask:
                return lazy
            # Not new: the name was taken, and this stands for the task registered first.
            return self._become(lazy, task) if self._is_new else task

    def _become(self, lazy: Any, task: Any) -> Any:
        state = object.__getattribute__(lazy, "__dict__")
        state.update(vars(task))
        try:
            # From here on `lazy` is an instance of the task's class, with the state of the instance that was made.
            object.__setattr__(lazy, "__class__", type(task))
        except TypeError:  # the base class has slots, or a parent beside Task: another layout in memory
            return task
        state.pop(_PROMISE)
        self._registry[task.name] = lazy
        return lazy


class LazyTask(Generic[P, R_co]):  # generic as Task is, so that both have one layout in memory
    """A task that is not made yet. Any attribute or call makes it."""

    def __init__(self, promise: Promise) -> None:
        object.__getattribute__(self, "__dict__")[_PROMISE] = promise

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
    promise: Promise | None = object.__getattribute__(lazy, "__dict__").get(_PROMISE)
    return lazy if promise is None else promise.kept_by(lazy)  # None: another thread was faster


def _made(lazy: Any) -> Any:
    """The task, made but not become."""
    promise: Promise | None = object.__getattribute__(lazy, "__dict__").get(_PROMISE)
    return lazy if promise is None else promise.task()
