"""What an app makes of ids and calls: its classes of results, and signatures bound to it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import construction
from .canvas.signature import Signature

if TYPE_CHECKING:
    from .result import AsyncResult
    from .result_set import GroupResult, ResultSet


class ResultKinds:
    """Part of `Celery`."""

    def signature(self, *args: Any, **kwargs: Any) -> Signature:
        """A call written down, bound to this app. Celery's guide: Canvas."""
        kwargs["app"] = self
        return Signature(*args, **kwargs)

    subtask = signature

    @cached_property
    def AsyncResult(self) -> type[AsyncResult[Any]]:  # noqa: N802 - Celery's name
        """The class of this app's results: `app.AsyncResult(task_id).get()`."""
        return construction.result_class(self)  # type: ignore[arg-type]

    @cached_property
    def GroupResult(self) -> type[GroupResult]:  # noqa: N802 - Celery's name
        """The same for groups: `app.GroupResult.restore(group_id).get()`."""
        from .result_set import GroupResult  # most programs have no groups

        return construction.bound(GroupResult, self)

    @cached_property
    def ResultSet(self) -> type[ResultSet]:  # noqa: N802 - Celery's name
        """The same for any results together."""
        from .result_set import ResultSet

        return construction.bound(ResultSet, self)
