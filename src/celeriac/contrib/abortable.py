"""Tasks that can be asked to stop, and look for themselves whether they were (Celery's `celery.contrib.abortable`).

    @app.task(bind=True, base=AbortableTask)
    def crunch(self, parts):
        for part in parts:
            if self.is_aborted():
                return "stopped"
            ...

    result = crunch.delay(parts)
    result.abort()

Asking costs a read of the result backend each time, so ask every second or so, not in each turn of a tight loop.
Nothing ends a task that never asks: that is what `result.revoke(terminate=True)` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from ..client.progress import state_record
from ..client.result import AsyncResult as Result
from ..client.task import Task

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]

ABORTED = "ABORTED"

R = TypeVar("R")


class AbortableAsyncResult(Result[R]):
    """A result that can ask its task to stop."""

    def is_aborted(self) -> bool:
        """Somebody has asked, and the task has not ended since."""
        return self.state == ABORTED

    def abort(self) -> None:
        """Ask. What has ended already keeps its result. Raises: OperationalError."""
        self.backend.put_many([state_record(self.app, self.id, ABORTED, None, None)])


class AbortableTask(Task[..., Any]):
    """A base class: its results are `AbortableAsyncResult`s."""

    abstract = True

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult[Any]:  # noqa: N802 - Celery's name
        """The result of one of this task's runs."""
        return AbortableAsyncResult(task_id, backend=self._backend, app=self.app, **kwargs)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Whether this run, or that of the given `task_id`, was asked to stop: a read of the backend."""
        return self.AsyncResult(kwargs.get("task_id") or self.request.id or "").is_aborted()

    def delay(self, *args: Any, **kwargs: Any) -> Result[Any]:
        """As `Task.delay`."""
        return self._abortable(super().delay(*args, **kwargs))

    def apply_async(self, *args: Any, **kwargs: Any) -> Result[Any]:
        """As `Task.apply_async`."""
        return self._abortable(super().apply_async(*args, **kwargs))

    def send_many(self, calls: Iterable[Any], **options: Any) -> list[Result[Any]]:
        """As `Task.send_many`."""
        return [self._abortable(result) for result in super().send_many(calls, **options)]

    def _abortable(self, result: Result[Any]) -> Result[Any]:
        """An eager result stays what it is: its task has ended."""
        return self.AsyncResult(result.id) if type(result) is Result else result
