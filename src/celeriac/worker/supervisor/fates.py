"""Fates: how a run ended that could not end by itself, as its supervisor saw it. Values; `verdicts` judges."""

from __future__ import annotations

from msgspec import Struct


class Lost(Struct, frozen=True):
    """Its process died under it. `definite`: surely nothing that ran beside it was to blame."""

    how: str
    definite: bool = True


class TimedOut(Struct, frozen=True):
    """It exceeded its hard limit of so many seconds, and only the end of its process could stop it."""

    limit: float


class Terminated(Struct, frozen=True):
    """It was revoked, with the order to end it by this signal."""

    signal: int


#: What is not named by a fate goes back to its queue as if it had never been reserved.
Fate = Lost | TimedOut | Terminated


def told(fate: Fate) -> tuple[str, float | str]:
    """As a word and a value, for a line."""
    if isinstance(fate, TimedOut):
        return "timeout", fate.limit
    return (
        ("terminated", fate.signal)
        if isinstance(fate, Terminated)
        else ("lost", f"Worker exited prematurely: {fate.how}.")
    )
