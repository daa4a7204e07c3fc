"""Settings that are of no use, found before anything starts: one line that names the setting, not a runner's traceback.

Only what would otherwise fail deep inside, or again and again: what a reader refuses by itself has its own words.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..errors import ImproperlyConfigured
from ..settings.table import SETTINGS
from ..wire import serializers

if TYPE_CHECKING:
    from ..client.app import Celery

_NUMBERS = tuple(setting.name for setting in SETTINGS.values() if setting.kind in ("int", "float"))


def check(app: Celery) -> None:
    """Raises: ImproperlyConfigured."""
    conf = app.conf
    for name in _NUMBERS:
        if conf.value_set_for(name) and not _is_number(value := conf[name]):
            raise ImproperlyConfigured(f"{name} is {value!r}: it must be a number")
    if conf.task_queues is not None and not isinstance(conf.task_queues, Iterable):
        raise ImproperlyConfigured(f"task_queues is {conf.task_queues!r}: it must be names or queues")
    _ = app.timezone
    serializers.content_types(conf.accept_content or ())


def _is_number(value: Any) -> bool:
    """Text that says one is one, as it comes from the environment."""
    if value is None or isinstance(value, timedelta):
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
