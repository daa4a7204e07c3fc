"""Records: what is stored about a run, in Celery's result documents. It writes values; it stores nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..client.request import Context
from ..states import FAILURE, REVOKED, STARTED, SUCCESS
from ..wire import failure
from ..wire.message import Record
from ..wire.outcome import document

if TYPE_CHECKING:
    from ..client.app import Celery


class Records:
    """Makes records by the app's settings (`result_expires`, `result_extended`, `result_serializer`).

    `now` gives the present as an aware datetime. With `kept` False (no backend) everything is None; with `extended`
    False the bare result is written whatever the settings say.
    """

    def __init__(
        self,
        app: Celery,
        now: Callable[[], datetime],
        kept: bool = True,
        *,
        extended: bool | None = None,
        counts: bool = False,
    ) -> None:
        conf = app.conf
        self.app = app
        #: The engine counts members of chords in the step that settles them.
        self.counts = counts
        expires = conf.result_expires
        seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
        # Engines refuse a time to live below nothing, and Redis only after it has acknowledged: it means no end.
        self._expires = seconds if seconds is not None and seconds > 0 else None
        self._serializer: str = conf.result_serializer
        self._extended = bool(conf.result_extended) if extended is None else extended
        self.now = now
        self.kept = kept

    def success(self, request: Context, value: Any, children: list[Any]) -> Record | None:
        """Raises: EncodeError."""
        return self._record(request, SUCCESS, value, None, children)

    def failure(self, request: Context, error: BaseException, traceback: str | None) -> Record | None:
        return self._record(request, FAILURE, failure.to_wire(error), traceback)

    def retry(self, request: Context, error: BaseException, traceback: str) -> Record | None:
        return self._record(request, "RETRY", failure.to_wire(error), traceback, final=False)

    def revoked(self, request: Context, error: BaseException) -> Record | None:
        return self._record(request, REVOKED, failure.to_wire(error), None)

    def started(self, request: Context, pid: int, hostname: str) -> Record | None:
        return self._record(request, STARTED, {"pid": pid, "hostname": hostname}, None, final=False)

    def _record(
        self,
        request: Context,
        state: str,
        result: Any,
        traceback: str | None,
        children: list[Any] | None = None,
        *,
        final: bool = True,
    ) -> Record | None:
        if not self.kept:
            return None
        task_id = request.id or ""
        data = document(
            task_id,
            state,
            result,
            traceback=traceback,
            children=_plain(request, children),
            date_done=self.now() if final else None,
            serializer=self._serializer,
            group_id=request.group,
            parent_id=request.parent_id,
            extended=_extended(request) if self._extended else None,
        )
        return Record(task_id, data, self._expires, final)


def _plain(request: Context, more: list[Any] | None) -> list[Any]:
    called = request._children
    if not called and not more:
        return []
    return [*(result.as_tuple() for result in called or ()), *(more or ())]


def _extended(request: Context) -> dict[str, Any]:
    info = request.delivery_info or {}
    return {
        "name": request.get("task"),
        "args": request.args,
        "kwargs": request.kwargs,
        "worker": request.hostname,
        "retries": request.retries,
        "queue": info.get("routing_key"),
        "stamps": request.stamps,
        "stamped_headers": request.stamped_headers,
    }
