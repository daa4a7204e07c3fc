"""The names of tasks that were given none, and where an app stands in the source."""

from __future__ import annotations

import sys
from types import FrameType
from typing import NamedTuple

from ..foundation.loading import module_name_of

__all__ = ["Origin", "created_in", "task_name"]

_PACKAGE = __name__.partition(".")[0]


def task_name(main: str | None, name: str, module: str | None) -> str:
    """`module.name`. In a script the module is the app's `main` or, where it has none, the file's own name.

    Celery calls tasks of a script whose app has no `main` `__main__.add`, which no worker that imports the file knows.
    Celery's guide: Tasks, "Names".
    """
    module = module or "__main__"
    if module in ("__main__", "__mp_main__"):
        module = main or module_name_of(module)
    return f"{module}.{name}" if module else name


class Origin(NamedTuple):
    """The module that made an app."""

    module: str
    file: str | None


def created_in(app: object) -> Origin:
    """The module of the code that is calling the app's constructor now, whatever subclasses stand between."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_constructor(frame, app):
        frame = frame.f_back
    if frame is None:
        return Origin("__main__", None)
    module = str(frame.f_globals.get("__name__", "__main__"))
    return Origin(module, frame.f_globals.get("__file__"))


def _is_constructor(frame: FrameType, app: object) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    if module == _PACKAGE or module.startswith(f"{_PACKAGE}."):
        return True
    code = frame.f_code
    # A subclass's own __init__: its first argument is the app under construction.
    return code.co_name == "__init__" and bool(code.co_varnames) and frame.f_locals.get(code.co_varnames[0]) is app
