"""`countdown`, `eta` and `expires`: from what a caller may write to the ISO instants that travel.

Pure: the present is passed in.
"""

from __future__ import annotations

import sys
import warnings
from datetime import UTC, datetime, timedelta, tzinfo
from numbers import Real
from typing import Any

from ..errors import NaiveEtaWarning

#: What Celery accepts at least, in seconds; below it the date arithmetic would overflow on the worker.
_LEAST = -2147483648


def not_before(countdown: float | None, eta: Any, now: datetime, zone: tzinfo) -> str | None:
    """The instant before which the task must not run, or None for at once. A countdown wins over an eta, as in Celery.

    Raises: ValueError (no such instant), TypeError.
    """
    if countdown:
        return after(countdown, now, zone, "countdown").isoformat()
    if isinstance(eta, str):
        return eta or None
    if eta is None:
        return None
    if not isinstance(eta, datetime):
        raise TypeError(f"eta must be a datetime, not {eta!r}")
    aware: datetime = eta if eta.tzinfo else _told_apart(eta, zone)
    return aware.isoformat()


def not_after(expires: Any, now: datetime, zone: tzinfo) -> str | None:
    """The instant after which the task must not start, or None. A naive datetime is UTC.

    Raises: ValueError, TypeError.
    """
    if expires is None:
        return None
    if isinstance(expires, str):  # a retry passes on what it was given
        return expires or None
    if isinstance(expires, Real):
        return after(float(expires), now, zone, "expires").isoformat()
    if isinstance(expires, timedelta):
        return after(expires.total_seconds(), now, zone, "expires").isoformat()
    if not isinstance(expires, datetime):
        raise TypeError(f"expires must be seconds or a datetime, not {expires!r}")
    return (expires if expires.tzinfo else expires.replace(tzinfo=UTC)).isoformat()


def after(seconds: float, now: datetime, zone: tzinfo, what: str) -> datetime:
    """`now` plus elapsed seconds, shown in `zone`. Raises: ValueError out of range, naming `what`."""
    if seconds < _LEAST:
        raise ValueError(f"{what} is out of range: {seconds!r}")
    try:
        return (now.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(zone)
    except (OverflowError, ValueError):
        raise ValueError(f"{what} is out of range: {seconds!r}") from None


def epoch(instant: str) -> float:
    """Seconds since the epoch of an ISO instant; one without an offset is UTC. Raises: ValueError."""
    parsed = datetime.fromisoformat(instant)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _told_apart(eta: datetime, zone: tzinfo) -> datetime:
    """A naive eta as UTC, which is how every Celery worker reads one, whatever its time zone is set to."""
    taken = eta.replace(tzinfo=UTC)
    other = eta.replace(tzinfo=zone) if zone.utcoffset(eta) else eta.astimezone()
    differs = f"As local time it would be {other.isoformat()}, which is {other.astimezone(UTC).isoformat()}."
    warnings.warn(
        f"the naive eta {eta.isoformat(' ')} is taken as UTC, as Celery takes it: {taken.isoformat()}. "
        f"{'Here that is local time too; elsewhere it is not.' if other == taken else differs} Pass an aware datetime, "
        f"for instance datetime.now(timezone.utc) + timedelta(...), or a countdown.",
        NaiveEtaWarning,
        stacklevel=_callers_level(),
    )
    return taken


def _callers_level() -> int:
    """How many frames up the first one outside of this package is: the warning belongs to that line."""
    package = __name__.partition(".")[0] + "."
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(package):
        frame, level = frame.f_back, level + 1
    return level
