"""The journal that task bodies write (`faulty.note`), read as it grows; and the account of every kill against it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple


class Run(NamedTuple):
    """One start of a body."""

    task_id: str
    pid: int
    #: Monotonic seconds.
    at: float


class Journal:
    """Starts and ends so far. Reads only what was appended since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._guard = threading.Lock()
        self._offset = 0
        self._rest = b""
        self._starts: list[Run] = []
        self._ends: list[Run] = []

    def read(self) -> Journal:
        """Look again."""
        with self._guard:
            self._read()
        return self

    def _read(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, task_id, pid, at = line.decode().split()
            (self._starts if word == "start" else self._ends).append(Run(task_id, int(pid), float(at)))

    @property
    def starts(self) -> list[Run]:
        return self._starts

    @property
    def ends(self) -> list[Run]:
        return self._ends

    def started(self) -> Counter[str]:
        return Counter(run.task_id for run in self._starts)

    def ended(self) -> set[str]:
        return {run.task_id for run in self._ends}

    def history(self, task_id: str) -> str:
        """Every line about one task, for messages."""
        lines = [("start", run) for run in self._starts] + [("end", run) for run in self._ends]
        mine = sorted((run.at, word, run.pid) for word, run in lines if run.task_id == task_id)
        return f"{task_id}: " + ", ".join(f"{word} pid {pid} at {at:.3f}" for at, word, pid in mine)


class Kill(NamedTuple):
    """A death (or a lease lost), and the runs that it excuses: started by its victims and not settled."""

    what: str
    #: When it was noted, monotonic seconds.
    at: float
    unsettled: frozenset[str]


class Account:
    """Whose second run is excused by which kill."""

    def __init__(self, journal: Journal, settled: Callable[[Collection[str]], set[str]]) -> None:
        """`settled` says which of these ids have a result."""
        self._journal = journal
        self._settled = settled
        self.kills: list[Kill] = []

    def note(self, what: str, pids: Iterable[int]) -> Kill:
        """To be called when the victims run no more and nobody else can have taken over what they held."""
        victims = frozenset(pids)
        theirs = {run.task_id for run in self._journal.read().starts if run.pid in victims}
        self.excuse(what, theirs - self._settled(theirs))
        return self.kills[-1]

    def excuse(self, what: str, task_ids: Iterable[str]) -> None:
        """These may run once more."""
        self.kills.append(Kill(what, time.monotonic(), frozenset(task_ids)))

    def check(self) -> None:
        """Every run of a task beyond its first must follow a kill that left the one before it unsettled."""
        extra = {task_id: count - 1 for task_id, count in self._journal.read().started().items() if count > 1}
        excused = Counter(task_id for kill in self.kills for task_id in kill.unsettled)
        for kill in self.kills:
            print(f"  {kill.what}: {len(kill.unsettled)} runs started and not settled")
        print(f"duplicates: {sum(extra.values())}, at most {sum(excused.values())} are excused")
        unexcused = [self._journal.history(task_id) for task_id, more in extra.items() if more > excused[task_id]]
        assert not unexcused, "ran again without a reason:\n" + "\n".join(unexcused[:20])
