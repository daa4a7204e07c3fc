"""What a `Celery` does once, when it is made and when its configuration is read: checks, registry, layers, classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import ImproperlyConfigured
from ..foundation.loading import import_module, missing, symbol
from ..foundation.suggest import did_you_mean
from ..settings import SETTINGS, Layer, read
from ..settings.old_names import canonical
from .registry import TaskRegistry
from .result import AsyncResult

if TYPE_CHECKING:
    from ..backends.base import Backend
    from .app import Celery

__all__ = ["bound", "default_app", "layer", "refuse_parts", "refuse_unknown", "registry", "result_class"]

Kind = TypeVar("Kind")

#: Celery's own defaults of arguments that replace parts of it: naming the default replaces nothing.
_STOCK = {
    "loader": ("app", "default", "celery.loaders.app:AppLoader", "celery.loaders.default:Loader"),
    "amqp": ("celery.app.amqp:AMQP",),
    "events": ("celery.app.events:Events",),
    "log": ("celery.app.log:Logging",),
    "control": ("celery.app.control:Control",),
}

_ARGUMENTS = (
    "main", "loader", "backend", "amqp", "events", "log", "control", "set_as_current", "tasks", "broker", "include",
    "changes", "config_source", "fixups", "task_cls", "autofinalize", "namespace", "strict_typing",
    "config_source_silent",
)  # fmt: skip


def refuse_parts(**parts: Any) -> None:
    """Parts of Celery that celeriac does not have cannot be replaced. Raises: ImproperlyConfigured."""
    for name, value in parts.items():
        if value is not None and value not in _STOCK[name]:
            raise ImproperlyConfigured(
                f"Celery({name}={value!r}): celeriac has no {name} to be replaced by another; leave the argument out"
            )


def refuse_unknown(name: str, settings: Mapping[str, Any]) -> None:
    """A keyword of the constructor is an argument or a setting. Raises: TypeError, naming the nearest."""
    for key in settings:
        if canonical(key) is None:
            hint = did_you_mean(key, (*_ARGUMENTS, *SETTINGS))
            raise TypeError(
                f"{name}() got an unexpected keyword argument {key!r}{hint}: it is neither an argument nor a setting"
            )


def registry(tasks: Any, kind: type[TaskRegistry]) -> TaskRegistry:
    """The registry given as itself, as tasks by name, as a class or the name of one; else a new one."""
    tasks = symbol(tasks)
    if isinstance(tasks, type):
        tasks = tasks()
    return tasks if isinstance(tasks, TaskRegistry) else kind(tasks or {})


def layer(source: Any, silent: bool, namespace: str) -> Layer | None:
    """What the configuration says: the source, else the module that `CELERY_CONFIG_MODULE` names.

    Raises: ImportError, AttributeError (unless `silent`), and whatever the module raises.
    """
    if source is None or source == "":
        source, silent = os.environ.get("CELERY_CONFIG_MODULE"), False
    if not source:
        return None
    origin = f"module {source}" if isinstance(source, str) else ""
    try:
        found = symbol(source)
    except (ImportError, AttributeError):
        if silent:
            return None
        raise
    return read(found, namespace, origin)


def default_app(kind: type[Celery]) -> Celery:
    """The app of a process that has made none: configured by `celeryconfig`, as Celery's is, where there is one."""
    app = kind("default", set_as_current=False)
    if not os.environ.get("CELERY_CONFIG_MODULE") and _exists(_DEFAULT_CONFIG):
        app.config_from_object(_DEFAULT_CONFIG)
    return app


_DEFAULT_CONFIG = "celeryconfig"


def _exists(name: str) -> bool:
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if missing(name, error):
            return False
        raise
    return True


def result_class(app: Celery) -> type[AsyncResult[Any]]:
    """A class of results that belong to this app unless they are told otherwise."""

    class Bound(AsyncResult[Any]):
        def __init__(
            self,
            id: str,
            backend: Backend | None = None,
            task_name: str | None = None,
            app: Celery | None = app,
            parent: AsyncResult[Any] | None = None,
        ) -> None:
            super().__init__(id, backend, task_name, app, parent)

        def __reduce__(self) -> tuple[Any, ...]:
            # Pickles name classes, and this one has no name that others could find: it travels as what it is made of.
            return AsyncResult, (self.id, None, None, self._app, self.parent)

    Bound.__name__, Bound.__qualname__, Bound.__doc__ = "AsyncResult", "AsyncResult", AsyncResult.__doc__
    Bound.__module__ = AsyncResult.__module__
    return Bound


def bound(kind: type[Kind], app: Any) -> type[Kind]:
    """A subclass whose instances belong to this app unless they are told otherwise."""
    return type(kind.__name__, (kind,), {"_app": app, "_bound": app, "__module__": kind.__module__})
