"""Time limits: which of them a run has, decided once a message. Pure; who keeps them is the worker's business.

The message's own word counts before the task's, and that before the settings', for the soft and the hard limit each, as
in Celery (guide: Workers, "Time Limits"). Seconds; 0.0 is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..errors import ImproperlyConfigured

if TYPE_CHECKING:
    from ..client.request import Context

#: What a pool that cannot end a run from outside says of hard limits.
_ALONE = (
    "-P solo runs tasks in the only process there is, which nothing can end from outside: it cannot keep {what}. "
    "Use -P prefork, or soft_time_limit"
)


class Limits(Struct, frozen=True):
    """At least one of the two."""

    soft: float = 0.0
    hard: float = 0.0


NO_LIMITS = Limits()


def decide(request: Context, task: Any, default: Limits) -> Limits | None:
    """`default` is the settings' word. None: nothing limits this run."""
    soft = request.soft_time_limit or task.soft_time_limit or default.soft
    hard = request.time_limit or task.time_limit or default.hard
    if not soft and not hard:
        return None
    return Limits(seconds(soft), seconds(hard))


def seconds(value: Any) -> float:
    """Raises: ValueError, TypeError for what is no time. Less than nothing is over at once; for ever is no limit."""
    if not value:
        return 0.0
    limit = float(value)
    if math.isnan(limit):
        raise ValueError("a time limit that is no number")
    return 0.0 if math.isinf(limit) else max(limit, 1e-3)


def default(conf: Any) -> Limits:
    """The settings' word. Raises: ImproperlyConfigured."""
    return Limits(
        _checked("task_soft_time_limit", conf.task_soft_time_limit), _checked("task_time_limit", conf.task_time_limit)
    )


def check(pool: str, conf: Any, tasks: Iterable[Any]) -> None:
    """Before a worker starts. Raises: ImproperlyConfigured for limits that are none, or that this pool cannot keep."""
    common = default(conf)
    if pool == "solo" and common.hard:
        raise ImproperlyConfigured(_ALONE.format(what=f"task_time_limit={common.hard:g} (--time-limit)"))
    for task in tasks:
        hard = _checked(f"time_limit of {task.name}", task.time_limit)
        _checked(f"soft_time_limit of {task.name}", task.soft_time_limit)
        if pool == "solo" and hard:
            raise ImproperlyConfigured(_ALONE.format(what=f"time_limit={hard:g} of {task.name}"))


def _checked(what: str, value: Any) -> float:
    try:
        return seconds(value)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(f"{what} is {value!r}, not a number of seconds") from None
