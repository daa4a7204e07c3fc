"""The plan: what a node must know of the app, as data. The template makes it; the supervisor never imports the app."""

from __future__ import annotations

import os
from typing import Any

from msgspec import Struct


class Plan(Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    name: str
    #: With every default filled in: the embedded queue by its absolute path.
    broker: str
    backend: str | None
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    #: Lines for the start: what the app asks for and this version does not do.
    warnings: tuple[str, ...]
    concurrency: int
    lease: float
    max_strikes: int
    #: How long a warm shutdown waits for running tasks; None: as long as they take.
    grace: float | None
    read_ahead: int
    read_ahead_bytes: int
    #: Settings that the app sets and that can be written as JSON: enough for a bare app beside it.
    settings: dict[str, Any]


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
