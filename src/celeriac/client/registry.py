"""The tasks of one app, by name. It knows names, not how tasks are made."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import InvalidTaskError, NotRegistered

if TYPE_CHECKING:
    from .task import Task

__all__ = ["TaskRegistry", "nearest"]


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names most like it, best first. `send_mail` finds `proj.tasks.send_mail`: the last part counts alone too."""
    names = list(known)
    close = difflib.get_close_matches(name, names, most)
    last = name.rpartition(".")[2]
    close += [other for other in names if other.rpartition(".")[2] == last and other not in close]
    return close[:most]


class TaskRegistry(dict[str, Any]):
    """Name -> task. Looking up a name that is not there raises `NotRegistered`, with the nearest names."""

    NotRegistered = NotRegistered

    def __missing__(self, name: str) -> NoReturn:
        raise self.not_registered(name)

    def not_registered(self, name: Any) -> NotRegistered:
        """The error for a name that is not there: `str()` is the name's repr, as in Celery, with a hint after it."""
        close = nearest(str(name), self)
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        return self.NotRegistered(f"{name!r}{hint}")

    def register(self, task: Task | type[Task]) -> None:
        """Add a task, or an instance of a task class, under its own name.

        Raises: InvalidTaskError where it has none.
        """
        made: Any = task() if inspect.isclass(task) else task
        if made.name is None:
            raise InvalidTaskError(f"Task class {type(made).__name__!r} must specify .name attribute")
        self[made.name] = made

    def unregister(self, name: str | Task) -> None:
        """Remove a task, given by name or as itself. Raises: NotRegistered."""
        key = getattr(name, "name", name)
        if self.pop(key, None) is None:
            raise self.not_registered(key)
