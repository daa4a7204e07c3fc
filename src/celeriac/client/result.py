"""`AsyncResult`: a task's state and result, as seen by whoever called it. Groups of them are `result_set`'s.

Reads documents and waits (through `waiting`); never writes any. Nothing happens on the backend until somebody asks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from .. import states
from ..errors import OperationalError, TimeoutError
from ..wire import outcome, serializers
from . import current
from .asynchronous import AwaitableOne
from .following import Followed
from .joining import (
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    set_task_join_will_block,
    task_join_will_block,
)
from .patience import Patience
from .result_tree import Tree
from .waiting import Wait, Waits, waits_of

if TYPE_CHECKING:
    from ..backends.base import Backend
    from .app import Celery

__all__ = [
    "AsyncResult",
    "ResultBase",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
    "set_task_join_will_block",
    "task_join_will_block",
]

R_co = TypeVar("R_co", covariant=True)

logger = logging.getLogger("celery.result")

#: What is known of a task that nobody has said anything about.
_UNKNOWN: dict[str, Any] = {"status": states.PENDING, "result": None}


# -- results ---------------------------------------------------------------------------------------------------------


class ResultBase:
    """Base of all results."""

    #: Result of the task whose callback this one is, or of the group, if known.
    parent: Any = None


class AsyncResult(ResultBase, Tree, AwaitableOne[R_co], Followed):
    """State and result of the task with this id. Celery's guide: Calling tasks; reference: `celery.result`."""

    TimeoutError = TimeoutError

    #: The task's id.
    id: str
    #: Nothing is stored for the task (`ignore_result`): `get` returns None at once.
    _ignored = False
    _app: Celery | None = None
    _backend: Backend | None = None
    _cache: dict[str, Any] | None = None
    #: The last state on the way that was read for a set of results.
    _seen: dict[str, Any] | None = None

    def __init__(
        self,
        id: str,
        backend: Backend | None = None,
        task_name: str | None = None,
        app: Celery | None = None,
        parent: Any = None,
    ) -> None:
        if id is None:
            raise ValueError(f"AsyncResult requires valid id, not {type(id)}")
        self.id = id
        self._app = app
        if backend is not None:
            self._backend = backend
        if parent is not None:
            self.parent = parent

    @property
    def app(self) -> Celery:
        """The app; the current one where none was given."""
        if self._app is None:
            self._app = current.get_current_app()
        return self._app

    @property
    def backend(self) -> Backend:
        """Where the result is kept."""
        return self.app.backend if self._backend is None else self._backend

    @backend.setter
    def backend(self, backend: Backend | None) -> None:
        self._backend = backend

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def ignored(self) -> bool:
        """Whether no result is stored, so that waiting for one makes no sense."""
        return self._ignored

    @ignored.setter
    def ignored(self, ignored: bool) -> None:
        self._ignored = ignored

    # -- waiting ---------------------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Wait until the task has ended, and return its result. The server tells; nothing polls.

        `timeout` is in seconds (None: as long as it takes). With `propagate` false a failed task's exception is
        returned instead of raised. `callback(task_id, value)` is called at the end, `on_message(meta)` with every
        state on the way. `on_interval()` is called every `interval` seconds, and only then does that have a meaning;
        `follow_parents` raises the error of a parent, looked for as often. `no_ack` has no meaning here.

        Raises: celeriac.exceptions.TimeoutError, the task's own exception, RuntimeError inside of a task (see
        `disable_sync_subtasks`), OperationalError where the backend is away at the timeout, or for a minute
        without one. Celery's guide: Calling tasks.
        """
        if self._ignored:
            return cast("R_co", None)
        if disable_sync_subtasks:
            assert_will_not_block()
        if self._cache is None:
            checks = self._regular_checks(on_interval, follow_parents and propagate)
            self._await(timeout, on_message, interval if checks else None, checks)
        return cast("R_co", self.maybe_throw(propagate=propagate, callback=callback))

    wait = get

    def _regular_checks(self, on_interval: Callable[[], Any] | None, follow_parents: bool) -> list[Callable[[], Any]]:
        checks: list[Callable[[], Any]] = []
        if follow_parents and self.parent is not None:
            self._raise_parents_error()
            checks.append(self._raise_parents_error)
        if on_interval is not None:
            checks.append(on_interval)
        return checks

    def _await(
        self,
        timeout: float | None,
        on_message: Callable[[dict[str, Any]], Any] | None,
        interval: float | None,
        checks: list[Callable[[], Any]],
    ) -> None:
        """Returns when the final state is in the cache. Raises: TimeoutError."""
        deadline = None if timeout is None else monotonic() + timeout
        if deadline is not None and monotonic() >= deadline and self.ready():
            return
        patience = Patience(deadline)
        waits = self._waits()
        wait: Wait | None = None
        try:
            while self._cache is None:
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("The operation timed out.")
                slice_ = left if interval is None or (left is not None and left < interval) else interval
                try:
                    if wait is None:
                        wait = waits.begin(self.id)
                    news = waits.next(wait, slice_)
                except OperationalError as error:
                    patience.bear(error)
                    continue
                patience.answered()
                self._heed(news, on_message, checks)
        finally:
            if wait is not None:
                waits.end(wait)

    def _heed(
        self,
        news: tuple[str, bytes] | None,
        on_message: Callable[[dict[str, Any]], Any] | None,
        checks: list[Callable[[], Any]],
    ) -> None:
        """A document, or the end of an interval."""
        if news is None:
            for check in checks:
                check()
            return
        meta = self._take(news[1])
        if on_message is not None:
            on_message(meta)

    def then(
        self,
        callback: Callable[[AsyncResult[R_co]], Any],
        on_error: Callable[[BaseException], Any] | None = None,
        weak: bool = False,
    ) -> AsyncResult[R_co]:
        """Have `callback(result)` called when the task has ended, whether or not anything waits for it.

        A task that failed goes to `on_error(exception)` if that is given, else to the callback, as in Celery. Either is
        called once, from a background thread that all callbacks share; what it raises is logged. `weak` has no
        meaning here. Returns this result.
        """

        def take(document: bytes) -> bool:
            try:
                self._take(document)
            except Exception as error:  # a document that does not decode
                self._call(on_error or self._log_unreadable, error)
                return True
            if self._cache is None:
                return False
            self._fire(callback, on_error)
            return True

        self._waits().then(self.id, take)
        return self

    def _fire(
        self, callback: Callable[[AsyncResult[R_co]], Any], on_error: Callable[[BaseException], Any] | None
    ) -> None:
        meta = self._get_task_meta()
        if on_error is not None and meta["status"] in states.PROPAGATE_STATES:
            self._call(on_error, meta["result"])
        else:
            self._call(callback, self)

    def _call(self, function: Callable[[Any], Any], argument: Any) -> None:
        try:
            function(argument)
        except Exception:
            logger.exception("A callback for the result of %s raised", self.id)

    def _log_unreadable(self, error: BaseException) -> None:
        logger.error("The result of %s cannot be read: %s", self.id, error)

    def _waits(self) -> Waits:
        return self.app.waits if self._backend is None else waits_of(self._backend)

    # -- state -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """PENDING (also of a task that is not known), STARTED, RETRY, FAILURE, SUCCESS, REVOKED, or the task's own."""
        return cast("str", self._get_task_meta()["status"])

    status = state

    @property
    def result(self) -> Any:
        """The value, or the exception; the meta of a state on the way; None before."""
        return self._get_task_meta()["result"]

    info = result

    def ready(self) -> bool:
        """Whether the task has ended."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Whether it has ended well."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Whether it has failed."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Whether anything is stored for this id: tells a task that waits from one that is not known."""
        return self._cache is not None or bool(self.backend.get_many((self.id,)))

    @property
    def traceback(self) -> str | None:
        """The traceback of a failed task, as text."""
        return cast("str | None", self._get_task_meta().get("traceback"))

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """Results of the tasks that this one called."""
        return cast("list[AsyncResult[Any]] | None", self._get_task_meta().get("children"))

    @property
    def date_done(self) -> datetime | None:
        """When it ended, in UTC."""
        done = self._get_task_meta().get("date_done")
        return datetime.fromisoformat(done) if isinstance(done, str) else done

    @property
    def name(self) -> str | None:
        """The task's name (this and the following: with `result_extended`)."""
        return cast("str | None", self._get_task_meta().get("name"))

    @property
    def args(self) -> Any:
        """Its positional arguments."""
        return self._get_task_meta().get("args")

    @property
    def kwargs(self) -> Any:
        """Its keyword arguments."""
        return self._get_task_meta().get("kwargs")

    @property
    def worker(self) -> str | None:
        """The node that ran it."""
        return cast("str | None", self._get_task_meta().get("worker"))

    @property
    def retries(self) -> int | None:
        """How often it was retried."""
        return cast("int | None", self._get_task_meta().get("retries"))

    @property
    def queue(self) -> str | None:
        """The queue it came from."""
        return cast("str | None", self._get_task_meta().get("queue"))

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """The result; the exception of a failed task is raised if `propagate`."""
        meta = self._get_task_meta()
        value = meta["result"]
        if propagate and meta["status"] in states.PROPAGATE_STATES:
            self.throw(value)
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def throw(self, value: Any) -> NoReturn:
        """Raise what a failed task left behind."""
        raise value if isinstance(value, BaseException) else Exception(value)

    def forget(self) -> None:
        """Delete the result from the backend, and those of its parents."""
        self._cache = None
        if self.parent is not None:
            self.parent.forget()
        self.backend.forget((self.id,))

    def revoke(
        self, connection: Any = None, terminate: bool = False, signal: str | int | None = None, **travel: Any
    ) -> None:
        """No worker is to run it; with `terminate` it is ended where it runs: see `app.control.revoke`."""
        self.app.control.revoke(self.id, terminate=terminate, signal=signal, **travel)

    def revoke_by_stamped_headers(self, headers: Mapping[str, Any], connection: Any = None, **how: Any) -> None:
        """As `revoke`, for all tasks with one of these stamps."""
        self.app.control.revoke_by_stamped_headers(headers, **how)

    # -- documents -------------------------------------------------------------------------------------------

    def _get_task_meta(self) -> dict[str, Any]:
        """What is known now, under Celery's keys; kept once the task has ended."""
        if self._cache is not None:
            return self._cache
        document = self.backend.get_many((self.id,)).get(self.id)
        return _UNKNOWN if document is None else self._take(document)

    def _take(self, document: bytes) -> dict[str, Any]:
        conf = self.app.conf
        accepted = _content_types(tuple(conf.result_accept_content or conf.accept_content))
        known = outcome.read(document, accepted, serializer=conf.result_serializer)
        meta = {
            "task_id": known.task_id or self.id,
            "status": known.status,
            "result": known.exception() if known.status in states.EXCEPTION_STATES else known.result,
            "traceback": known.traceback,
            "children": [result_from_tuple(child, self.app) for child in known.children or ()],
            "date_done": known.date_done,
            "group_id": known.group_id,
            "parent_id": known.parent_id,
            **known.extended,
        }
        if known.status in states.READY_STATES:
            self._cache = meta
        return meta

    def _parents(self) -> Iterator[Any]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def _raise_parents_error(self) -> None:
        for node in reversed(list(self._parents())):
            node.maybe_throw()

    # -- as a value ------------------------------------------------------------------------------------------

    def as_tuple(self) -> tuple[tuple[str, Any], None]:
        """`((id, parent), None)`: how it stands among the children of another result."""
        return (self.id, self.parent and self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """Its id and those of its parents."""
        return [self.id, *(node.id for node in self._parents())]

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return bool(other.id == self.id)
        return other == self.id if isinstance(other, str) else NotImplemented

    def __copy__(self) -> AsyncResult[R_co]:
        return type(self)(self.id, self._backend, None, self._app, self.parent)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, None, None, None, self.parent)


def result_from_tuple(r: Any, app: Celery | None = None) -> Any:
    """The result that `as_tuple` wrote: of a task, or of a group with its members."""
    if isinstance(r, ResultBase):
        return r
    app = current.app_or_default(app)
    own, members = r if isinstance(r[0], (list, tuple)) or len(r) == 2 else (r, None)
    result_id, parent = own if isinstance(own, (list, tuple)) else (own, None)
    parent = result_from_tuple(parent, app) if parent else None
    if members is not None:
        return app.GroupResult(result_id, [result_from_tuple(member, app) for member in members], parent=parent)
    return app.AsyncResult(result_id, parent=parent)


@lru_cache(maxsize=8)
def _content_types(names: tuple[str, ...]) -> frozenset[str]:
    return serializers.content_types(names)
