"""Looking at dead letters in memory, and what is done with them: that part of `brokers.base.Broker`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from operator import attrgetter

from msgspec import structs

from .. import history
from ..base import DeadLetter
from ..bounds import Bounds
from .queues import Queues


def _position(letter: DeadLetter) -> tuple[float, int]:
    return letter.since, int(letter.id)


class DeadLetters:
    """For `MemoryBroker`, which has these."""

    lock: threading.RLock
    state: Queues
    bounds: Bounds
    clock: Callable[[], float]

    def dead_letters(
        self,
        queues: Sequence[str],
        limit: int = 100,
        *,
        before: DeadLetter | None = None,
        newer: float | None = None,
        older: float | None = None,
    ) -> list[DeadLetter]:
        with self.lock:
            letters = [
                letter
                for name in queues
                for letter, _ in self.state.queue(name).dead.values()
                if (before is None or _position(letter) < _position(before))
                and (newer is None or letter.since >= newer)
                and (older is None or letter.since < older)
            ]
            return sorted(letters, key=_position, reverse=True)[:limit]

    def dead_letter(self, queue: str, letter_id: str) -> DeadLetter | None:
        with self.lock:
            found = self.state.queue(queue).dead.get(letter_id)
            return None if found is None else found[0]

    def requeue_dead(
        self, queue: str, ids: Sequence[str], *, after: float = 0.0, every: float = 0.0, by: str = ""
    ) -> list[str]:
        with self.lock:
            now, found = self.clock(), list[str]()
            for letter_id in dict.fromkeys(ids):
                due = now + after + every * len(found)
                if self.state.unbury(queue, letter_id, now, due, history.REQUEUED, by):
                    found.append(letter_id)
            return found

    def edit_dead(self, letter: DeadLetter, payload: bytes, by: str = "") -> bool:
        with self.lock:
            dead = self.state.queue(letter.queue).dead
            found = dead.get(letter.id)
            if found is None or found[0].payload != letter.payload:
                return False
            known, entry = found
            told = history.read(history.write(known.history), history.entry(self.clock(), history.EDITED, by))
            dead[letter.id] = (structs.replace(known, payload=payload, history=told), entry)
            return True

    def purge_dead(self, queue: str, ids: Sequence[str]) -> int:
        with self.lock:
            dead = self.state.queue(queue).dead
            return sum(dead.pop(letter_id, None) is not None for letter_id in dict.fromkeys(ids))

    def import_dead(self, letters: Sequence[DeadLetter], by: str = "") -> list[str]:
        with self.lock:
            told = history.entry(self.clock(), history.IMPORTED, by)
            return [self.state.keep_dead(letter, told) for letter in sorted(letters, key=attrgetter("since"))]
