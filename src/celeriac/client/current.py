"""Which app and which task are current: the only global state of the package.

It knows no app and no task class; `client.app` says how a fallback app is made. The stack of running tasks is one
`ContextVar`, so it is empty in a new thread and inherited by coroutines, and pushing costs a tenth of a microsecond.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .proxy import Proxy

if TYPE_CHECKING:
    from .app import Celery
    from .request import Context
    from .task import Task

__all__ = [
    "Running",
    "app_or_default",
    "connect_on_app_finalize",
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "get_current_worker_task",
    "pop",
    "push",
    "request_of",
    "running",
    "set_current_app",
    "set_default_app",
]


# -- the running task ------------------------------------------------------------------------------------------------


class Running(NamedTuple):
    """One run on the stack: a task calls others directly or eagerly, so there is an outer one."""

    task: Task[..., Any]
    request: Context
    outer: Running | None


_running: ContextVar[Running | None] = ContextVar("celeriac_running", default=None)
_get, _set, _reset = _running.get, _running.set, _running.reset
_make = tuple.__new__  # a NamedTuple's own constructor costs three times as much


def push(task: Task[..., Any], request: Context) -> Token[Running | None]:
    """Enter a run. Hand the answer to `pop` in the same thread (or coroutine)."""
    return _set(_make(Running, (task, request, _get())))


def pop(token: Token[Running | None]) -> None:
    """Leave the run that `push` entered."""
    _reset(token)


def running() -> Running | None:
    """The innermost run, or None outside of tasks."""
    return _get()


def request_of(task: Task[..., Any]) -> Context | None:
    """The request of the innermost run of this very task, or None where it does not run here."""
    run = _get()
    while run is not None:
        if run[0] is task:
            return run[1]
        run = run[2]
    return None


def get_current_task() -> Task[..., Any] | None:
    """The task that runs here, or None."""
    run = _get()
    return None if run is None else run[0]


def worker_run() -> Running | None:
    """The innermost run that came from a worker: calls made by hand inside of it do not count."""
    run = _get()
    while run is not None and run[1].called_directly:
        run = run[2]
    return run


def get_current_worker_task() -> Task[..., Any] | None:
    """The task that a worker runs here, whatever it calls directly or eagerly; or None."""
    run = worker_run()
    return None if run is None else run[0]


# -- the current app -------------------------------------------------------------------------------------------------


class _Here(threading.local):
    app: Celery | None = None


_here = _Here()
_default: Celery | None = None
_default_is_explicit = False
_make_default: Callable[[], Celery] | None = None
_apps: weakref.WeakSet[Celery] = weakref.WeakSet()
_finalizers: dict[Any, Callable[[Celery], Any]] = {}
_lock = threading.Lock()


def get_current_app() -> Celery:
    """The app of this thread; else the default one; else a new app without any configuration but the environment's.

    Celery gives a thread that created no app an unconfigured one, whose calls go to a broker nobody set up. Here the
    app that was made current last, in whichever thread, is the default until `set_default_app` names another.
    """
    app = _here.app or _default
    return app if app is not None else _fallback()


def set_current_app(app: Celery | None) -> None:
    """Make it this thread's app, and the default one where none was named."""
    global _default
    _here.app = app
    if app is not None and not _default_is_explicit:
        _default = app


def set_default_app(app: Celery | None) -> None:
    """Make it the app of all threads that have none of their own."""
    global _default, _default_is_explicit
    _default, _default_is_explicit = app, app is not None


def app_or_default(app: Celery | None = None) -> Celery:
    """The app given, else the current one."""
    return get_current_app() if app is None else app


def provide_default(make: Callable[[], Celery]) -> None:
    """`client.app` says how the fallback app is made, so that this module need not know the class."""
    global _make_default
    _make_default = make


def _fallback() -> Celery:
    global _default
    with _lock:
        if _default is None:
            if _make_default is None:
                raise RuntimeError("no app exists yet: create one with Celery(...)")
            _default = _make_default()
        return _default


# -- all apps --------------------------------------------------------------------------------------------------------


def register_app(app: Celery) -> None:
    """Remember the app, weakly, for shared tasks and for what follows a fork."""
    _apps.add(app)


def forget_app(app: Celery) -> None:
    """The app was closed: neither current nor default any more."""
    global _default, _default_is_explicit
    _apps.discard(app)
    if _here.app is app:
        _here.app = None
    if _default is app:
        _default, _default_is_explicit = None, False


def apps() -> list[Celery]:
    """Every app that lives."""
    return list(_apps)


def connect_on_app_finalize(callback: Callable[[Celery], Any]) -> Callable[[Celery], Any]:
    """Call it with every app that is finalized from now on."""
    _finalizers[callback] = callback
    return callback


def finalizers() -> Iterator[Callable[[Celery], Any]]:
    """What is to be called with an app that is being finalized, in the order of connection."""
    return iter(list(_finalizers.values()))


#: Always the app that is current where it is used.
current_app: Celery = cast("Celery", Proxy(get_current_app))
#: Always the task that runs where it is used; false outside of tasks.
current_task: Task[..., Any] | None = cast("Task[..., Any] | None", Proxy(get_current_task))
