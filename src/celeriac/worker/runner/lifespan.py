"""How long a runner lives: the tasks it may run and the memory it may take, as Celery's worker_max_tasks_per_child and
worker_max_memory_per_child say. It counts and looks; the runner ends itself, and its supervisor starts the next.

The number is exact: a runner never reserves more than it may still run. Its supervisor hears of the end a little
before, so that the successor is there when the slot becomes free. A runner that is too large before its first task
keeps no limit of memory: its successors would be no smaller, and one after the other would end.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
from collections.abc import Callable

logger = logging.getLogger("celeriac.worker.runner")

#: The successor is asked for when so many seconds of work are left.
_AHEAD = 0.3
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


class Lifespan:
    """`most_tasks` and `most_kilobytes`, None for no limit; `say` is that of the runner's line."""

    def __init__(
        self,
        most_tasks: int | None,
        most_kilobytes: int | None,
        say: Callable[..., None],
        rss: Callable[[], int] | None = None,
    ) -> None:
        self._left = most_tasks or None
        self._most_kilobytes = most_kilobytes or None
        self._say = say
        self._rss = rss or resident
        self._announced = self._told = False
        self.over = False
        self._look_at_the_start()

    def allow(self, limit: int, held: int) -> int:
        """How many of `limit` messages may be reserved beside the `held` ones."""
        if self._left is None:
            return limit
        if held >= self._left:
            self._tell_over()
        return max(0, min(limit, self._left - held))

    def begin(self, mean: float) -> None:
        """Tasks run from now on, expected to take `mean` seconds each."""
        if self._left is not None and (self._left <= 1 or self._left * mean < _AHEAD):
            self._announce()

    def ran(self, tasks: int, name: str, mean: float) -> None:
        """So many tasks ended, the last of them of this name. Says by `over` whether they were the last."""
        if self._left is not None:
            self._left -= tasks
            if self._left <= 0:
                self._end()
        if self._most_kilobytes is not None:
            self._look(tasks, name)
        if not self.over:
            self.begin(mean)

    def _look_at_the_start(self) -> None:
        if self._most_kilobytes is not None and (now := self._rss()) > self._most_kilobytes:
            self._most_kilobytes = None
            self._say("heavy", kilobytes=now)

    def _look(self, tasks: int, name: str) -> None:
        now, most = self._rss(), self._most_kilobytes
        if most is not None and now > most and not self.over:
            which = f"task {name}" if tasks == 1 else f"{tasks} tasks, the last of them {name}"
            text = "process %d takes %d kB after %s, more than %d kB: it is replaced"
            logger.warning(text, os.getpid(), now, which, most)
            self._end()

    def _announce(self) -> None:
        if not self._announced:
            self._announced = True
            self._say("spent")

    def _end(self) -> None:
        self.over = True
        self._tell_over()

    def _tell_over(self) -> None:
        """All that it may still run is in its hands: where that takes long, its successor need not wait for the end."""
        self._announce()
        if not self._told:
            self._told = True
            self._say("over")


def resident() -> int:
    """Kilobytes of memory that this process takes now; where that cannot be told, the most it ever took."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:
            return int(statm.read(200).split()[1]) * _PAGE_KB
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak
