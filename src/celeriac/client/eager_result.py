"""`EagerResult`: of a task that ran in this process. All is known from the start, and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from .. import states
from ..errors import TaskRevokedError
from .result import AsyncResult

__all__ = ["EagerResult"]

R_co = TypeVar("R_co", covariant=True)


class EagerResult(AsyncResult[R_co]):
    """The result of a task that ran in this process (`Task.apply`, `task_always_eager`)."""

    def __init__(
        self, id: str, ret_value: Any, state: str, traceback: str | None = None, name: str | None = None
    ) -> None:
        self.id = id
        # What `get` and the other methods look at before they ask the backend.
        self._cache = {"task_id": id, "result": ret_value, "status": state, "traceback": traceback, "name": name}

    def ready(self) -> bool:
        """It has ended."""
        return True

    def exists(self) -> bool:
        """It is here."""
        return True

    def then(
        self,
        callback: Callable[[AsyncResult[R_co]], Any],
        on_error: Callable[[BaseException], Any] | None = None,
        weak: bool = False,
    ) -> AsyncResult[R_co]:
        """As `AsyncResult.then`, at once and in this thread."""
        self._fire(callback, on_error)
        return self

    def forget(self) -> None:
        """Nothing is stored."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Mark it as revoked: `get` raises TaskRevokedError from now on, as in Celery."""
        revoked = {"status": states.REVOKED, "result": TaskRevokedError("revoked"), "traceback": None}
        self._cache = {**self._get_task_meta(), **revoked}

    def __copy__(self) -> EagerResult[R_co]:
        cls, args = self.__reduce__()
        return cast("EagerResult[R_co]", cls(*args))

    def __reduce__(self) -> tuple[Any, ...]:
        meta = self._get_task_meta()
        return type(self), (self.id, meta["result"], meta["status"], meta["traceback"], meta["name"])
