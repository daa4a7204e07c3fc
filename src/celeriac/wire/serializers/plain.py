"""Which values msgspec may write: those whose JSON is the same whoever writes it.

msgspec has opinions on dates, UUIDs, bytes, sets, enums, dataclasses and NaN, and none of them is kombu's. So it gets
a value only after every part of it was seen to be of exactly a JSON type. Looking costs a third of a microsecond for
the arguments of a usual call; the exact encoder costs three times that, and six times for an envelope.
"""

from __future__ import annotations

from collections.abc import Collection
from math import isfinite
from typing import Any

ATOMS = frozenset({str, int, bool, type(None)})
_TEXT = frozenset({str})

#: From here on it pays to look at all types in C first.
_MANY = 32

#: Deeper than this the exact encoder takes over; it also finds values that contain themselves.
_DEPTH = 20


def is_plain(value: Any, depth: int = _DEPTH) -> bool:
    """Whether `value` is made of str, int, finite float, bool, None, list, tuple and dict with str keys, and nothing
    else: no subclasses either."""
    kind = type(value)
    if kind in ATOMS:
        return True
    if kind is float:
        return isfinite(value)
    if kind is dict:
        return _TEXT.issuperset(map(type, value)) and _are_plain(value.values(), depth)
    return (kind is list or kind is tuple) and _are_plain(value, depth)


def _are_plain(items: Collection[Any], depth: int) -> bool:
    if len(items) > _MANY and ATOMS.issuperset(map(type, items)):
        return True
    for item in items:
        if type(item) in ATOMS:
            continue
        if depth == 0 or not is_plain(item, depth - 1):
            return False
    return True
