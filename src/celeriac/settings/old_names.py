"""Other spellings of settings: Celery's upper-case names from before 4.0, and names under a namespace.

It maps names to names. Which spelling wins where one source has several is `sources`' business.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from .table import SETTINGS

__all__ = ["OLD", "Spelling", "canonical", "suspect"]

#: The prefix that a family had before 4.0, in place of its own: `worker_pool` was `CELERYD_POOL`.
_RENAMED_FAMILIES = {"beat_": "CELERYBEAT_", "task_": "CELERY_", "worker_": "CELERYD_"}
#: Families whose names only stood behind `CELERY_`.
_PREFIXED_FAMILIES = (
    ("cache_", "couchbase_", "arangodb_", "mongodb_", "event_", "redis_", "result_", "elasticsearch_", "security_")
)  # fmt: skip
_PREFIXED_NAMES = ("accept_content", "imports", "include", "timezone")
#: Families whose upper-case form cannot be a setting of something else, so that it counts without any prefix.
_UNMISTAKABLE_FAMILIES = ("task_", "worker_", "result_", "broker_", "beat_", "event_", "control_")

#: Where the old name follows no rule.
_IRREGULAR = {
    "result_cache_max": "CELERY_MAX_CACHED_RESULTS",
    "result_expires": "CELERY_TASK_RESULT_EXPIRES",
    "database_url": "CELERY_RESULT_DBURI",
    "database_engine_options": "CELERY_RESULT_ENGINE_OPTIONS",
    "database_short_lived_sessions": "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
    "database_table_names": "CELERY_RESULT_DB_TABLENAMES",
    "task_compression": "CELERY_MESSAGE_COMPRESSION",
    "task_eager_propagates": "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
    "task_protocol": "CELERY_TASK_PROTOCOL",
    "task_publish_retry": "CELERY_TASK_PUBLISH_RETRY",
    "task_publish_retry_policy": "CELERY_TASK_PUBLISH_RETRY_POLICY",
    "task_send_sent_event": "CELERY_SEND_TASK_SENT_EVENT",
    "task_serializer": "CELERY_TASK_SERIALIZER",
    "task_soft_time_limit": "CELERYD_TASK_SOFT_TIME_LIMIT",
    "task_time_limit": "CELERYD_TASK_TIME_LIMIT",
    "worker_direct": "CELERY_WORKER_DIRECT",
    "worker_disable_rate_limits": "CELERY_DISABLE_RATE_LIMITS",
    "worker_enable_remote_control": "CELERY_ENABLE_REMOTE_CONTROL",
    "worker_lost_wait": "CELERYD_WORKER_LOST_WAIT",
    "worker_redirect_stdouts": "CELERY_REDIRECT_STDOUTS",
    "worker_redirect_stdouts_level": "CELERY_REDIRECT_STDOUTS_LEVEL",
    "worker_send_task_events": "CELERY_SEND_EVENTS",
}


def _old_name(name: str) -> str:
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    for family, prefix in _RENAMED_FAMILIES.items():
        if name.startswith(family):
            return prefix + name[len(family) :].upper()
    if name in _PREFIXED_NAMES or name.startswith(_PREFIXED_FAMILIES):
        return f"CELERY_{name.upper()}"
    return name.upper()


#: Old name -> name.
OLD: dict[str, str] = {_old_name(name): name for name in SETTINGS}


class Spelling(IntEnum):
    """How a name was written; where one source has two spellings of a setting, the smaller wins."""

    PREFIXED = 0
    EXACT = 1
    UPPER = 2
    OLD = 3


class Match(NamedTuple):
    """A known setting, and how it was spelt."""

    name: str
    spelling: Spelling


def canonical(key: str, namespace: str = "") -> Match | None:
    """The setting that `key` names, or None.

    Without a namespace these all name `worker_concurrency`: itself, `WORKER_CONCURRENCY`, `CELERYD_CONCURRENCY`,
    `CELERY_WORKER_CONCURRENCY`. With one, e.g. `CELERY`, upper-case names count only if they begin with it.
    """
    if namespace:
        return _under(key, namespace)
    if key in SETTINGS:
        return Match(key, Spelling.EXACT)
    if not key.isupper():
        return None
    if key in OLD:
        return Match(OLD[key], Spelling.OLD)
    lower = key.lower()
    if lower in SETTINGS and lower.startswith(_UNMISTAKABLE_FAMILIES):
        return Match(lower, Spelling.UPPER)
    return _under(key, "CELERY")


def _under(key: str, namespace: str) -> Match | None:
    prefix = namespace if namespace.endswith("_") else f"{namespace}_"
    if key.lower().startswith(prefix.lower()):
        name = key[len(prefix) :].lower()
        if name in SETTINGS:
            return Match(name, Spelling.PREFIXED)
    if key in SETTINGS:
        return Match(key, Spelling.EXACT)
    if key in OLD and key.startswith(namespace.rstrip("_")):
        return Match(OLD[key], Spelling.OLD)
    return None


def suspect(key: str, namespace: str = "") -> str | None:
    """How an unknown key would be written as a setting, if it looks like one at all: else None.

    A config module is full of names that are its own affair; only what could be a slip is worth a look.
    """
    if key.startswith("_") or "_" not in key:
        return None
    prefix = f"{(namespace or 'CELERY').rstrip('_')}_".lower()
    lower = key.lower()
    if lower.startswith(prefix):
        return lower[len(prefix) :]
    return lower if key.islower() and not namespace else None
