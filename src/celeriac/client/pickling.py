"""Apps in pickles: by where they stand, so that a process that imports the same module gets its own, configured one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..foundation.loading import import_module, symbol

if TYPE_CHECKING:
    from .app import Celery

__all__ = ["reduce_app"]


def reduce_app(app: Celery) -> tuple[Any, ...]:
    """How to find the app again: `module:name`. An app that stands in no module is rebuilt from its arguments."""
    # A spawned process has its parent's script under both names, the parent only under the first.
    place = "__main__" if app.module == "__mp_main__" else app.module
    module = sys.modules.get(place)
    for name, value in list(vars(module).items()) if module is not None else ():
        if value is app:
            return _by_name, (f"{place}:{name}",)
    return _rebuilt, (type(app), _arguments(app))


def _arguments(app: Celery) -> dict[str, Any]:
    return {
        "main": app.main,
        "changes": app.conf.changes,
        "config_source": app._config_source,
        "config_source_silent": app._config_silent,
        "namespace": app.namespace,
        "task_cls": app.task_cls,
        "autofinalize": app.autofinalize,
        "strict_typing": app.strict_typing,
        "set_as_current": False,
    }


def _by_name(place: str) -> Any:
    import_module(place.partition(":")[0])
    return symbol(place)


def _rebuilt(kind: type[Celery], arguments: dict[str, Any]) -> Celery:
    return kind(**arguments)
