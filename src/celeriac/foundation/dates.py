"""Instants as text and time zones: what stands in `eta`, `expires` and `date_done`. Reads no clock."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

__all__ = [
    "UTC",
    "add_seconds",
    "epoch",
    "from_epoch",
    "is_naive",
    "local_zone",
    "make_aware",
    "parse",
    "text",
    "zone",
]

#: What ISO 8601 allows and `fromisoformat` does not know: a year or month alone, and midnight as the end of a day.
_SHORT = re.compile(r"(\d{4})(?:-(\d\d))?\Z")
_MIDNIGHT = re.compile(r"(.+[T ])24((?::?00){0,2}(?:[.,]0+)?(?:[+-].*|Z)?)\Z")


def parse(value: str | datetime) -> datetime:
    """The instant that an ISO 8601 text names (a datetime is returned as it is); naive if the text has no offset.

    Raises: ValueError, also for a value that is neither.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError(f"not an ISO 8601 instant: {value!r:.100}")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return _parse_rare(value)


def _parse_rare(value: str) -> datetime:
    if short := _SHORT.match(value):
        return datetime(int(short[1]), int(short[2] or 1), 1)
    if midnight := _MIDNIGHT.match(value):
        try:
            return datetime.fromisoformat(f"{midnight[1]}00{midnight[2]}") + timedelta(days=1)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"not an ISO 8601 instant: {value!r:.100}")


def text(value: str | datetime | None) -> str | None:
    """As Celery writes an instant into a header: ISO 8601, microseconds only where there are some; text stays."""
    return value.isoformat() if isinstance(value, datetime) else value or None


def is_naive(value: datetime) -> bool:
    """Whether the datetime does not say which instant it is."""
    return value.tzinfo is None or value.tzinfo.utcoffset(value) is None


def make_aware(value: datetime, where: tzinfo) -> datetime:
    """A naive datetime taken as wall time `where` (of a repeated hour: the first, unless `fold` says otherwise)."""
    return value.replace(tzinfo=where) if is_naive(value) else value


def add_seconds(value: datetime, seconds: float) -> datetime:
    """`value` later by elapsed (not wall-clock) seconds, in the same zone. Raises: OverflowError past year 9999."""
    delta = timedelta(seconds=seconds)
    if value.tzinfo is UTC or is_naive(value):
        return value + delta
    return (value.astimezone(UTC) + delta).astimezone(value.tzinfo)


def epoch(value: str | datetime, where: tzinfo = UTC) -> float:
    """Seconds since 1970-01-01T00:00Z; a naive value is wall time `where`. Raises: ValueError, OverflowError."""
    return make_aware(parse(value), where).timestamp()


def from_epoch(seconds: float, where: tzinfo = UTC) -> datetime:
    """The instant `seconds` after 1970-01-01T00:00Z, as wall time `where`. Raises: ValueError, OverflowError."""
    return datetime.fromtimestamp(seconds, where)


@lru_cache(maxsize=64)
def zone(name: str | tzinfo | None) -> tzinfo:
    """The zone of that name (a zone is returned as it is); None is the system's.

    Raises: ValueError that names the unknown zone.
    """
    if name is None:
        return local_zone()
    if isinstance(name, tzinfo):
        return name
    if name.upper() == "UTC":
        return UTC
    found = _named(name)
    if found is None:
        raise ValueError(f"unknown time zone {name!r}: use a name such as 'Europe/London' or 'UTC'")
    return found


@lru_cache(maxsize=1)
def local_zone() -> tzinfo:
    """The system's zone, by name where it can be found out (so that summer time is right all year), else its offset."""
    linked = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    for name in (os.environ.get("TZ", "").lstrip(":"), linked):
        found = _named(name) if name else None
        if found is not None:
            return found
    return datetime(2000, 1, 1).astimezone().tzinfo or UTC


def _named(name: str) -> tzinfo | None:
    from zoneinfo import ZoneInfo  # 2 ms that a process with UTC everywhere does not pay

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None
