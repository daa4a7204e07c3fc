"""From a decorated function, or a task class, to a registered task: names, duplicates, sharing between apps."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import ImproperlyConfigured
from ..foundation.suggest import nearest
from . import current
from .lazy import LazyTask, Promise
from .proxy import Proxy
from .task import make_task

if TYPE_CHECKING:
    from .app import Celery
    from .task import Task

__all__ = ["DuplicateTaskNameWarning", "UnknownOptionWarning", "decorate", "register", "shared_task"]

_DUPLICATE = """\
Task name {name!r} is already registered to a different callable.

Existing: {existing}
New:      {new}

{consequence}

Every task must have a unique name: pass name= to the decorator, or rename one of the callables.\
"""
_KEPT = "The new callable was not registered; calls under this name reach the callable registered first."
_REPLACED = "The new callable replaced the existing one; calls under this name now reach the new callable."


class DuplicateTaskNameWarning(UserWarning):
    """Two callables want one task name (`celery.exceptions.DuplicateTaskNameWarning`)."""


class UnknownOptionWarning(UserWarning):
    """An option of `@task` that is none, and is very like one."""


# -- @app.task -------------------------------------------------------------------------------------------------------


def decorate(app: Celery, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`app.task`, bare or with options."""
    if not args:
        return functools.partial(_define, app, **options)
    if len(args) > 1:
        raise TypeError(f"@task() takes exactly 1 argument ({len(args) + len(options)} given)")
    if not callable(args[0]):
        raise TypeError("argument 1 to @task() must be a callable")
    return _define(app, args[0], **options)


def _define(
    app: Celery,
    fun: Callable[..., Any],
    *,
    shared: bool = True,
    filter: Callable[[Any], Any] | None = None,
    lazy: bool = True,
    **options: Any,
) -> Any:
    made: Any
    if app.finalized or not lazy:
        made = from_function(app, fun, **options)[0]
    else:
        make = functools.partial(from_function, app, fun, **options)
        made = LazyTask(Promise(app.conf.load, make, app._tasks, app._lock))
        app._pending.append(made)
    if shared:
        current.connect_on_app_finalize(functools.partial(_share, fun, options))
    return filter(made) if filter is not None else made


def from_function(
    app: Celery,
    fun: Callable[..., Any],
    *,
    name: str | None = None,
    base: type[Task[..., Any]] | None = None,
    bind: bool = False,
    **options: Any,
) -> tuple[Task[..., Any], bool]:
    """The task around `fun`, and whether it is new.

    Where the name is taken it is the task registered first, with a warning if that is another callable's.
    """
    if not (app.finalized or app.autofinalize or app._finalizing):
        raise RuntimeError("Contract breach: app not finalized")
    name = name or app.gen_task_name(fun.__name__, fun.__module__)
    existing = app._tasks.get(name)
    if existing is not None:
        known = getattr(existing, "_decorated_fun", None)
        if known is not None and known is not fun:
            _warn_duplicate(app, name, known, fun, _KEPT)
        return existing, False
    kind = base or app.Task
    _check_options(kind, options)
    task = make_task(app, fun, name=name, bind=bind, base=kind, **options)
    app._tasks[name] = task
    return task, True


def _check_options(kind: type[Task[..., Any]], options: dict[str, Any]) -> None:
    """Any option becomes an attribute of the task; one that is very like a known attribute is a slip, and said to be.

    Raises: ImproperlyConfigured for options of Celery that this version does not honour.
    """
    if options.get("pydantic"):
        raise ImproperlyConfigured("@task(pydantic=True): models as arguments are not supported by this version")
    for name in options:
        close = () if hasattr(kind, name) else nearest(name, dir(kind), most=1, cutoff=0.85)
        if close:
            text = f"@task({name}=…): tasks have no such option; did you mean {close[0]!r}?"
            warnings.warn(UnknownOptionWarning(text), stacklevel=_outside())


def _share(fun: Callable[..., Any], options: dict[str, Any], app: Celery) -> None:
    """Give another app of this process the task too, unless it has one of that name."""
    name = options.get("name") or app.gen_task_name(fun.__name__, fun.__module__)
    if name not in app._tasks:
        from_function(app, fun, **options)


# -- task classes ----------------------------------------------------------------------------------------------------


def register(app: Celery, task: Any, options: dict[str, Any]) -> Task[..., Any]:
    """`app.register_task`."""
    made: Any = task() if inspect.isclass(task) else task
    kind: Any = type(made)
    for name, value in options.items():
        setattr(kind, name, value)
    if not made.name:
        made.name = app.gen_task_name(kind.__name__, kind.__module__)
    existing = app.tasks.get(made.name)
    if existing is not None and existing is not made:
        known = getattr(existing, "_decorated_fun", None) or type(existing)
        _warn_duplicate(app, made.name, known, getattr(made, "_decorated_fun", None) or kind, _REPLACED)
    app.tasks[made.name] = made
    kind.bind(app)
    return made  # type: ignore[no-any-return]


# -- shared tasks ----------------------------------------------------------------------------------------------------


def shared_task(*args: Any, **options: Any) -> Any:
    """A task of every app: what it returns is always the current app's. For libraries, which have no app of their own.

    Bare or with the options of `app.task`. Celery's guide: Django, "Using the @shared_task decorator".
    """
    if len(args) == 1 and callable(args[0]):
        return _shared(args[0], options)
    if args:
        raise TypeError("argument 1 to @shared_task() must be a callable")
    return functools.partial(_shared, options=options)


def _shared(fun: Callable[..., Any], options: dict[str, Any]) -> Any:
    if type(fun) is Proxy:
        raise TypeError(
            "@shared_task was applied more than once to the same function. Remove the extra @shared_task decorator."
        )
    current.connect_on_app_finalize(lambda app: from_function(app, fun, **options))
    for app in current.apps():
        if app.finalized:
            with app._lock:
                from_function(app, fun, **options)

    def find() -> Task[..., Any]:
        app = current.get_current_app()
        task: Task[..., Any] = app.tasks[options.get("name") or app.gen_task_name(fun.__name__, fun.__module__)]
        return task

    return Proxy(find)


# -- duplicates ------------------------------------------------------------------------------------------------------


def _warn_duplicate(app: Celery, name: str, existing: Any, new: Any, consequence: str) -> None:
    """Once a name: a collision is one mistake."""
    if name in app._duplicates:
        return
    app._duplicates.add(name)
    text = _DUPLICATE.format(name=name, existing=_where(existing), new=_where(new), consequence=consequence)
    warnings.warn(DuplicateTaskNameWarning(text), stacklevel=_outside())


def _where(fun: Any) -> str:
    """`proj.tasks.add, proj/tasks.py:12`: two functions of one name are told apart by their place."""
    name = f"{fun.__module__}.{getattr(fun, '__qualname__', fun)}"
    code = getattr(inspect.unwrap(fun) if callable(fun) else fun, "__code__", None)
    return f"{name}, {code.co_filename}:{code.co_firstlineno}" if code is not None else name


def _outside() -> int:
    """The stack level of the first frame that is not ours: decorating and first use lie at different depths."""
    package = __name__.partition(".")[0]
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level
