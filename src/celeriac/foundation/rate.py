"""Rates as people write them: `10/m`, `100/h`, `0.5/s`, 5. Pure."""

from __future__ import annotations

import math

from ..errors import ImproperlyConfigured

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def rate(limit: object) -> float:
    """Starts a second of a `rate_limit`: 5, "0.5/s", "10/m", "100/h"; 0.0 for None, 0 and "": no limit.

    Raises: ImproperlyConfigured.
    """
    if limit is None or limit == "":
        return 0.0
    try:
        number, _, unit = limit.partition("/") if isinstance(limit, str) else (limit, "", "s")
        found = float(number) / _SECONDS[unit.strip() or "s"]  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError):
        found = -1.0
    if not 0.0 <= found < math.inf:
        raise ImproperlyConfigured(f"{limit!r} is no rate limit: write it such as '10/m', '100/h', '0.5/s' or 5")
    return found
