"""Which class makes which kind of signature, found by name and loaded at first use.

The kinds mean each other (a group followed by a task is a chord, a chord's header is a group), so they meet here and
import none of each other; and who sends single tasks only loads none of them.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

#: `subtask_type` -> class, as in Celery; filled by `register` when a kind is loaded.
TYPES: dict[str, Any] = {}

_HOMES = {
    "chain": "chain",
    "chord": "chord",
    "chunks": "maps",
    "group": "group",
    "xmap": "maps",
    "xstarmap": "maps",
}


def register(name: str, kind: Any) -> Any:
    """Make `kind` the class of all signatures whose `subtask_type` is `name`."""
    TYPES[name] = kind
    return kind


def load(name: str) -> Any:
    """The class of a kind. Raises: KeyError where there is none of that name."""
    found = TYPES.get(name)
    if found is None:
        importlib.import_module(f"{__package__}.{_HOMES[name]}")
        found = TYPES[name]
    return found


@cache
def part(place: str) -> Any:
    """`module:attribute` of this package."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
