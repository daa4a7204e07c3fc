"""Dead letters in the SQLite file: how they are set aside, looked at, sent again and forgotten. Steps of transactions.

What the table `dead` says is what the first files had; `dead_more` has the rest under the same id. No step counts rows:
`tallies` does, for each queue under `dead:<number>`, and for `past`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from ...drivers.sqlite import Step
from .. import history
from ..base import PAGE_BYTES, DeadLetter, Settlement, Shelf
from ..bounds import Bounds
from .entry import Waiting, number_of, numbers_of, topic
from .sql import SQL

T = TypeVar("T")

#: Rows that one step forgets at most.
_PORTION = 1000


class Corpse(NamedTuple):
    """A message on its way to the dead letters."""

    settlement: Settlement
    queue: int
    message: int
    payload: bytes
    priority: int
    strikes: int
    #: What struck it last, if that is not noted yet.
    strike: str


def bury(step: Step, corpses: Iterable[Corpse], bounds: Bounds, now: float) -> int:
    """Returns how many older letters had to go."""
    buried: dict[int, int] = {}
    for corpse in corpses:
        _bury(step, corpse, now)
        buried[corpse.queue] = buried.get(corpse.queue, 0) + 1
    return sum(_within(step, queue, count, bounds) for queue, count in buried.items())


def _bury(step: Step, corpse: Corpse, now: float) -> None:
    it = corpse.settlement
    name = history.name_of(it.task_id, corpse.payload)
    requeues, told = step.execute(SQL.past, (name,)).fetchone() or (0, "")
    if told:
        tally(step, "past", -step.execute(SQL.forget_past, (name,)).rowcount)
    (struck,) = step.execute(SQL.unstrike, (corpse.message,)).fetchone() or ("",)
    again = now + it.again_after if it.again_after > 0 and requeues < it.again_most else None
    facts = (it.reason, it.detail, it.task, it.task_id)
    row = (corpse.queue, corpse.message, corpse.priority, corpse.strikes, now, *facts)
    (number,) = step.execute(SQL.bury, row).fetchone()
    more = (it.traceback, name, requeues, history.joined(told, struck, corpse.strike), again)
    step.execute(SQL.bury_more, (number, corpse.queue, *more))


def _within(step: Step, queue: int, added: int, bounds: Bounds) -> int:
    surplus = min(tally_dead(step, queue, added) - bounds.dead_letter_max, _PORTION)
    if surplus <= 0:
        return 0
    erase(step, queue, step.execute(SQL.surplus_dead, (queue, surplus)).fetchall())
    return surplus


def erase(step: Step, queue: int, rows: Sequence[tuple[int, int]]) -> None:
    """Rows (id, message) that were deleted from `dead`: what hangs on them goes too."""
    step.many(SQL.forget_more, [(number,) for number, _ in rows])
    step.many(SQL.erase_message, [(message,) for _, message in rows])
    tally_dead(step, queue, -len(rows))


def tally(step: Step, name: str, change: int) -> int:
    total: int = step.execute(SQL.tally, (name, change)).fetchone()[0]
    return total


def tally_dead(step: Step, queue: int, change: int) -> int:
    """After the change was made. A file that had dead letters before it had tallies is counted once."""
    name = f"dead:{queue}"
    row = step.execute(SQL.tally_known, (change, name)).fetchone()
    return row[0] if row is not None else tally(step, name, step.execute(SQL.count_dead, (queue,)).fetchone()[0])


# -- sending again ----------------------------------------------------------------------------------------------------


def unbury(step: Step, name: str, letter: str, due: float, what: str, by: str = "", *, bounds: Bounds) -> bool:
    """To the end of its queue, or put off until it is due; its strikes forgotten, what happened to it not."""
    queue, now = number_of(step, name), time.time()
    row = step.execute(SQL.unbury, (letter, queue)).fetchone()
    if row is None:
        return False
    message, priority, since, reason, task_id = row
    tally_dead(step, queue, -1)
    more = step.execute(SQL.unbury_more, (letter,)).fetchone()
    key, requeues, told = more or (history.name_of(task_id, _payload(step, message)), 0, "")
    told = history.joined(told, history.entry(since, reason), history.entry(now, what, by))
    known = step.execute(SQL.forget_past, (key,)).rowcount
    step.execute(SQL.remember_past, (key, now, requeues + (what == history.AGAIN), told))
    surplus = tally(step, "past", 1 - known) - bounds.dead_letter_max
    if surplus > 0:
        tally(step, "past", -step.execute(SQL.surplus_past, (surplus,)).rowcount)
    if due > now:
        step.execute(SQL.delay, (queue, due, message, priority, 0))
    else:
        (place,) = step.numbers(1)
        step.execute(SQL.wait, Waiting(queue, Shelf.READY, priority, place, message, 0))
        step.topics.add(topic(name))
    return True


def _payload(step: Step, message: int) -> bytes:
    payload: bytes = step.execute(SQL.payload, (message,)).fetchone()[0]
    return payload


def next_chance(step: Step, queue: str) -> float | None:
    """When upkeep is to send something again."""
    row = step.execute(SQL.next_chance, (number_of(step, queue),)).fetchone()
    return None if row is None else row[0]


def second_chances(step: Step, name: str, instant: float, limit: int, bounds: Bounds) -> int:
    rows = step.execute(SQL.chances, (number_of(step, name), instant, limit)).fetchall()
    return sum(unbury(step, name, str(row[0]), 0.0, history.AGAIN, bounds=bounds) for row in rows)


def expire(step: Step, bounds: Bounds) -> tuple[bool, int]:
    """Forget what is too old or, by a lower bound than before or brought in, too much: a portion. Whether there may be
    more, and how many there were too many of."""
    since = time.time() - bounds.dead_letter_expires
    rows = step.execute(SQL.expired_dead, (since, _PORTION)).fetchall()
    for queue in {row[2] for row in rows}:
        erase(step, queue, [row[:2] for row in rows if row[2] == queue])
    gone = step.execute(SQL.expired_past, (since, _PORTION)).rowcount
    if gone:
        tally(step, "past", -gone)
    surplus = 0
    for name, total in step.execute(SQL.too_many, (bounds.dead_letter_max,)).fetchall():
        number = int(name.removeprefix("dead:"))
        most = min(total - bounds.dead_letter_max, _PORTION)
        oldest = step.execute(SQL.surplus_dead, (number, most)).fetchall()
        erase(step, number, oldest)
        surplus += len(oldest)
    return len(rows) == _PORTION or gone == _PORTION or surplus >= _PORTION, surplus


# -- the port ---------------------------------------------------------------------------------------------------------


def _letter(name: str, row: Sequence[Any]) -> DeadLetter:
    number, payload, reason, detail, task, task_id, since, strikes, traceback, told, requeues, again = row
    facts = (str(number), name, payload, reason, detail, task, task_id, since, strikes)
    return DeadLetter(*facts, traceback or "", history.read(told or ""), requeues or 0, again)


def _position(letter: DeadLetter) -> tuple[float, int]:
    return letter.since, int(letter.id)


def _page(name: str, cursor: sqlite3.Cursor) -> tuple[list[DeadLetter], bool]:
    """As many as may be in memory; False: there are more."""
    letters, size = list[DeadLetter](), 0
    for row in cursor:
        size += len(row[1])
        if letters and size > PAGE_BYTES:
            cursor.close()
            return letters, False
        letters.append(_letter(name, row))
    return letters, True


class DeadLetters:
    """For `SQLiteBroker`, which has the rest."""

    bounds: Bounds

    def write(self, work: Callable[[Step], T], timeout: float | None = None) -> T:
        raise NotImplementedError

    def read(self, work: Callable[[Step], T]) -> T:
        raise NotImplementedError

    def dead_letters(
        self,
        queues: Sequence[str],
        limit: int = 100,
        *,
        before: DeadLetter | None = None,
        newer: float | None = None,
        older: float | None = None,
    ) -> list[DeadLetter]:
        last = (float("inf"), 0) if before is None else (before.since, int(before.id))
        bounds = (0.0 if newer is None else newer, float("inf") if older is None else older)

        def work(step: Step) -> list[DeadLetter]:
            letters, reached = list[DeadLetter](), (float("-inf"), 0)
            for name, queue in numbers_of(step, queues).items():
                found, whole = _page(name, step.execute(SQL.dead_letters, (queue, *last, *bounds, limit)))
                letters += found
                if not whole:  # what is older than its last would go before what it still has
                    reached = max(reached, _position(found[-1]))
            return [letter for letter in letters if _position(letter) >= reached]

        return sorted(self.read(work), key=_position, reverse=True)[:limit]

    def dead_letter(self, queue: str, letter_id: str) -> DeadLetter | None:
        def work(step: Step) -> DeadLetter | None:
            row = step.execute(SQL.dead_letter, (letter_id, number_of(step, queue))).fetchone()
            return None if row is None else _letter(queue, row)

        return self.read(work)

    def requeue_dead(
        self, queue: str, ids: Sequence[str], *, after: float = 0.0, every: float = 0.0, by: str = ""
    ) -> list[str]:
        def work(step: Step) -> list[str]:
            now, found = time.time(), list[str]()
            for letter in dict.fromkeys(ids):
                due = now + after + every * len(found)
                if unbury(step, queue, letter, due, history.REQUEUED, by, bounds=self.bounds):
                    found.append(letter)
            return found

        return self.write(work)

    def edit_dead(self, letter: DeadLetter, payload: bytes, by: str = "") -> bool:
        def work(step: Step) -> bool:
            row = step.execute(SQL.dead_letter, (letter.id, number_of(step, letter.queue))).fetchone()
            if row is None or row[1] != letter.payload:
                return False
            step.execute(SQL.edit_message, (payload, letter.id))
            told = history.joined(row[9] or "", history.entry(time.time(), history.EDITED, by))
            name = history.name_of(letter.task_id, payload)
            step.execute(SQL.edit_more, (letter.id, number_of(step, letter.queue), name, told))
            return True

        return self.write(work)

    def purge_dead(self, queue: str, ids: Sequence[str]) -> int:
        def work(step: Step) -> int:
            number = number_of(step, queue)
            found = (step.execute(SQL.purge_dead, (letter, number)).fetchone() for letter in dict.fromkeys(ids))
            rows = [row for row in found if row is not None]
            erase(step, number, rows)
            return len(rows)

        return self.write(work)

    def import_dead(self, letters: Sequence[DeadLetter], by: str = "") -> list[str]:
        def work(step: Step) -> list[str]:
            return [_import(step, letter, history.entry(time.time(), history.IMPORTED, by)) for letter in letters]

        return self.write(work)


def _import(step: Step, letter: DeadLetter, told: str) -> str:
    queue = number_of(step, letter.queue)
    (message,) = step.numbers(1)
    step.execute(SQL.write_message, (message, letter.payload))
    facts = (letter.reason, letter.detail, letter.task, letter.task_id)
    (number,) = step.execute(SQL.bury, (queue, message, 0, letter.strikes, letter.since, *facts)).fetchone()
    name = history.name_of(letter.task_id, letter.payload)
    told = history.joined(history.write(letter.history), told)
    step.execute(SQL.bury_more, (number, queue, letter.traceback, name, letter.requeues, told, None))
    tally_dead(step, queue, 1)
    return str(number)
