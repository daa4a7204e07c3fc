"""When two decoded values count as the same."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from typing import Any


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types all the way down, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, datetime | time):
        return bool(one == other and one.isoformat() == other.isoformat())
    return repr(one) == repr(other) if isinstance(one, float | Decimal) else bool(one == other)
