"""Members of chords in a SQLite file: who has ended, counted once each, and whose end makes the set complete.

Every function runs inside a step of `drivers.sqlite`, mostly that which settles a member. It decides nothing beyond.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ..drivers.sqlite import Step
from .base import Part
from .sqlite_rows import SQL, key, text

#: Seconds that members are kept of which nobody has said how many there will be: their producer died, or they came
#: again after all was forgotten.
_UNKNOWN = 86400.0
#: Rows that one step of upkeep deletes.
_PORTION = 500


def begin(step: Step, group_id: str, size: int, expires: float | None) -> None:
    """See `base.Counting`, here and below."""
    chord = _open(step, group_id)
    step.execute(SQL.begin_chord, (size, None if expires is None else time.time() + expires, chord))


def grow(step: Step, group_id: str, more: int) -> None:
    step.execute(SQL.grow_chord, (more, _open(step, group_id)))


def count(step: Step, members: Sequence[Any]) -> list[Any]:
    """Add `brokers.base.Member`s. Returns those that have made their groups complete."""
    complete = []
    for member in members:
        chord = _open(step, member.group_id)
        row = (chord, key(member.task_id), member.index, member.document)
        if step.execute(SQL.add_part, row).rowcount and step.execute(SQL.counted, (chord,)).fetchone()[0]:
            complete.append(member)
    return complete


def parts(step: Step, group_id: str) -> list[Part]:
    row = step.execute(SQL.chord, (key(group_id), time.time())).fetchone()
    if row is None:
        return []
    return [Part(text(task), place, document) for task, place, document in step.execute(SQL.parts, (row[0],))]


def end(step: Step, group_id: str) -> None:
    step.execute(SQL.end_chord, (key(group_id),))


def expire(step: Step) -> bool:
    """Upkeep: erase a portion of what has expired. Whether there may be more."""
    chords = [row[0] for row in step.execute(SQL.ended_chords, (time.time(), _PORTION))]
    room = _PORTION
    for chord in chords:
        step.execute(SQL.forget_name, (chord,))
        room -= step.execute(SQL.erase_parts, (chord, room)).rowcount
        if room <= 0:
            return True
        step.execute(SQL.erase_chord, (chord,))
    return len(chords) == _PORTION


def _open(step: Step, group_id: str) -> int:
    """The number of the chord, which need not have begun: members may end before the last is sent."""
    name, now = key(group_id), time.time()
    row = step.execute(SQL.chord, (name, now)).fetchone()
    if row is None:
        step.execute(SQL.end_chord, (name,))  # one that has expired
        (number,) = step.numbers(1)
        step.execute(SQL.make_chord, (number, name, now + _UNKNOWN))
        return number
    chord: int = row[0]
    return chord
