"""The tasks of one app, by name. It knows names, not how tasks are made."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from ..errors import InvalidTaskError, NotRegistered
from ..foundation.suggest import did_you_mean

if TYPE_CHECKING:
    from .task import Task

__all__ = ["TaskRegistry"]


class TaskRegistry(dict[str, Any]):
    """Name -> task. Looking up a name that is not there raises `NotRegistered`, with the nearest names."""

    NotRegistered: ClassVar[type[Exception]] = NotRegistered

    def __missing__(self, name: str) -> NoReturn:
        raise self.not_registered(name)

    def not_registered(self, name: Any) -> Exception:
        """The error for a name that is not there: `str()` is the name's repr, as in Celery, with a hint after it."""
        return self.NotRegistered(f"{name!r}{did_you_mean(str(name), self)}")

    def register(self, task: Task[..., Any] | type[Task[..., Any]]) -> None:
        """Add a task, or an instance of a task class, under its own name.

        Raises: InvalidTaskError where it has none.
        """
        made: Any = task() if inspect.isclass(task) else task
        if made.name is None:
            raise InvalidTaskError(f"Task class {type(made).__name__!r} must specify .name attribute")
        self[made.name] = made

    def unregister(self, name: str | Task[..., Any]) -> None:
        """Remove a task, given by name or as itself. Raises: NotRegistered."""
        key: Any = getattr(name, "name", name)
        if self.pop(key, None) is None:
            raise self.not_registered(key)
