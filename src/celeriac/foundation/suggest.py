"""Which known name somebody may have meant: for error texts, never for decisions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def nearest(name: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known names most like it, in whatever case, best first.

    A name of which only the last part was given counts as near: `send_mail` finds `proj.tasks.send_mail`.
    """
    names = {other.lower(): other for other in known}
    wanted = name.lower()
    last = wanted.rpartition(".")[2]
    same_end = [other for other in names if other.rpartition(".")[2] == last]
    alike = [other for other in difflib.get_close_matches(wanted, names, most, cutoff) if other not in same_end]
    return [names[other] for other in (same_end + alike)[:most]]


def did_you_mean(name: str, known: Iterable[str], most: int = 3) -> str:
    """` (did you mean 'a' or 'b'?)`, to be put after a text; empty where nothing is near."""
    close = nearest(name, known, most)
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
