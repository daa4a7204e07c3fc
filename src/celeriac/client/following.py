"""Following a task on its way: `result.progress`, `result.iter_progress()`, and the states behind them. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..errors import OperationalError, TimeoutError
from .joining import assert_will_not_block
from .patience import Patience
from .progress import PROGRESS
from .waiting import Wait

if TYPE_CHECKING:
    from .result import AsyncResult


class Progress(NamedTuple):
    """How far a task is."""

    current: float
    #: None: nobody knows how much there is.
    total: float | None = None
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None without a total."""
        return min(max(self.current / self.total, 0.0), 1.0) if self.total else None

    @classmethod
    def read(cls, meta: Mapping[str, Any]) -> Progress | None:
        """What a document says: ours, or a stock worker's with the keys of Celery's guide (`current`, `total`)."""
        told = meta["result"]
        if meta["status"] != PROGRESS or not isinstance(told, Mapping):
            return None
        current, total = told.get("current", told.get("done")), told.get("total")
        if not isinstance(current, (int, float)):
            return None
        message = told.get("message") or told.get("status") or ""
        return cls(current, total if isinstance(total, (int, float)) else None, str(message))


class Followed:
    """Part of `AsyncResult`."""

    @property
    def progress(self) -> Progress | None:
        """What the task has told by `self.progress` last; None in any state but PROGRESS."""
        return Progress.read(cast("AsyncResult[Any]", self)._get_task_meta())

    def iter_progress(self, timeout: float | None = None) -> Iterator[Progress]:
        """Each progress as it is told, until the task has ended, well or not; `timeout` in seconds is for all of it.

        Words that come faster than they are read may be left out, never the newest. Not in Celery.
        Raises: celeriac.exceptions.TimeoutError, RuntimeError inside of a task, OperationalError.
        """
        assert_will_not_block()
        last: Progress | None = None
        for meta in states_of(cast("AsyncResult[Any]", self), timeout):
            now = Progress.read(meta)
            if now is not None and now != last:
                last = now
                yield now


def states_of(result: AsyncResult[Any], timeout: float | None = None) -> Iterator[dict[str, Any]]:
    """What is stored of the task, and whatever is from now on; ends after its final state. Raises: TimeoutError."""
    if result._cache is not None or result.ignored:
        yield from () if result._cache is None else (result._cache,)
        return
    deadline = None if timeout is None else monotonic() + timeout
    patience, waits = Patience(deadline), result._waits()
    wait: Wait | None = None
    try:
        while result._cache is None:
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("The operation timed out.")
            try:
                if wait is None:
                    wait = waits.begin(result.id)
                news = waits.next(wait, left)
            except OperationalError as error:
                patience.bear(error)
                continue
            patience.answered()
            if news is not None:
                yield result._take(news[1])
    finally:
        if wait is not None:
            waits.end(wait)
