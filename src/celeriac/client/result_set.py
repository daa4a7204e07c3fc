"""`ResultSet` and `GroupResult`: many results as one, waited for at once through the one wait of the process."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from .. import states
from ..errors import OperationalError, TimeoutError
from . import current, saved_groups
from .asynchronous import AwaitableSet
from .joining import assert_will_not_block
from .patience import Patience
from .result import AsyncResult, ResultBase
from .waiting import Waits

if TYPE_CHECKING:
    from ..backends.base import Backend
    from .app import Celery

__all__ = ["GroupResult", "ResultSet"]

Result = Any


class ResultSet(ResultBase, AwaitableSet):
    """Many results. Celery's reference: `celery.result`."""

    _app: Celery | None = None

    def __init__(
        self, results: Iterable[Result] | None = None, app: Celery | None = None, ready_barrier: Any = None, **_: Any
    ) -> None:
        if app is not None:
            self._app = app
        self.results: list[Result] = list(results or ())

    # -- members ---------------------------------------------------------------------------------------------

    def add(self, result: Result) -> None:
        """Add a member, unless it is one."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Result) -> None:
        """Remove a member, given as itself or by its id. Raises: KeyError."""
        if isinstance(result, str):
            result = self.app.AsyncResult(result)
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Result) -> None:
        """Remove a member if it is one."""
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Iterable[Result]) -> None:
        """Add those that are no members yet."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Remove all."""
        self.results.clear()

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Result:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    @property
    def app(self) -> Celery:
        """The app given, else that of the first member, else the current one."""
        if self._app is None:
            self._app = self.results[0].app if self.results else current.get_current_app()
        return self._app

    @app.setter
    def app(self, app: Celery | None) -> None:
        self._app = app

    @property
    def backend(self) -> Backend:
        """Where the results are kept."""
        return self.app.backend if self._app is not None or not self.results else cast("Backend", self[0].backend)

    @property
    def supports_native_join(self) -> bool:
        """Waiting for all is one wait here, whatever the backend."""
        return True

    # -- states ----------------------------------------------------------------------------------------------

    def _leaves(self) -> Iterator[AsyncResult[Any]]:
        for result in self.results:
            if isinstance(result, ResultSet):
                yield from result._leaves()
            else:
                yield result

    def _look(self) -> list[AsyncResult[Any]]:
        """All single results, with what is known now of those that have not ended: one read of the backend."""
        leaves = list(self._leaves())
        asked: dict[int, tuple[Any, dict[str, list[AsyncResult[Any]]]]] = {}
        for leaf in leaves:
            if leaf._cache is None and not leaf.ignored:
                backend = leaf.backend
                asked.setdefault(id(backend), (backend, {}))[1].setdefault(leaf.id, []).append(leaf)
        for backend, by_id in asked.values():
            for task_id, document in backend.get_many(tuple(by_id)).items():
                for leaf in by_id[task_id]:
                    leaf._seen = leaf._take(document)
        return leaves

    def _statuses(self) -> list[str]:
        found = []
        for leaf in self._look():
            meta = leaf._cache or leaf._seen
            found.append(states.PENDING if meta is None else meta["status"])
        return found

    def successful(self) -> bool:
        """Whether all have ended well."""
        return all(status == states.SUCCESS for status in self._statuses())

    def failed(self) -> bool:
        """Whether one has failed."""
        return any(status == states.FAILURE for status in self._statuses())

    def waiting(self) -> bool:
        """Whether one has not ended."""
        return not self.ready()

    def ready(self) -> bool:
        """Whether all have ended."""
        return all(status in states.READY_STATES for status in self._statuses())

    def completed_count(self) -> int:
        """How many have ended well."""
        return self._statuses().count(states.SUCCESS)

    def maybe_throw(self, callback: Callable[[str, Any], Any] | None = None, propagate: bool = True) -> None:
        """Raise the error of the first that failed; `callback(task_id, value)` for each before it."""
        self._look()
        for result in self.results:
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def forget(self) -> None:
        """Delete the results from the backend."""
        for result in self.results:
            result.forget()

    def revoke(
        self, connection: Any = None, terminate: bool = False, signal: Any = None, wait: bool = False,
        timeout: float | None = None,
    ) -> None:  # fmt: skip
        """No worker is to run them (`AsyncResult.revoke`): one order for all."""
        self.app.control.revoke([leaf.id for leaf in self._leaves()], terminate=terminate, signal=signal)

    # -- waiting ---------------------------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> Any:
        """Wait until all have ended; a list of their values, in order.

        `timeout` is in seconds and for all. The first error is raised as soon as it is there, unless `propagate` is
        false: then it stands in the list. With `callback(task_id, value)` each value goes there as it comes, and
        nothing is returned. Other arguments as for `AsyncResult.get`.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        for leaf in self._arriving(timeout, interval, on_message, on_interval):
            value = leaf.maybe_throw(propagate=propagate)
            if callback is not None:
                callback(leaf.id, value)
        return None if callback is not None else self._values(propagate)

    def join_native(self, *args: Any, **kwargs: Any) -> Any:
        """As `get`, with the arguments in Celery's order (`timeout, propagate, interval, callback, …`)."""
        return self.get(*args, **kwargs)

    def join(self, *args: Any, **kwargs: Any) -> list[Any]:
        """As `get`; an empty list with `callback`."""
        return self.get(*args, **kwargs) or []

    def _values(self, propagate: bool) -> list[Any]:
        return [
            one._values(propagate)
            if isinstance(one, ResultSet)
            else None
            if one.ignored
            else one.maybe_throw(propagate)
            for one in self.results
        ]

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(task id, meta) of each member as it ends. Raises: TimeoutError."""
        for leaf in self._arriving(timeout, interval, on_message, on_interval):
            yield leaf.id, leaf._get_task_meta()

    def _arriving(
        self,
        timeout: float | None,
        interval: float,
        on_message: Callable[[dict[str, Any]], Any] | None,
        on_interval: Callable[[], Any] | None,
    ) -> Iterator[AsyncResult[Any]]:
        """The single results, each when it has ended."""
        if timeout is not None and timeout <= 0:
            self._look()  # no time to wait is a look
        pending: dict[Waits, dict[str, list[AsyncResult[Any]]]] = {}
        for leaf in self._leaves():
            if leaf._cache is not None:
                yield leaf
            elif not leaf.ignored:
                pending.setdefault(leaf._waits(), {}).setdefault(leaf.id, []).append(leaf)
        deadline = None if timeout is None else monotonic() + timeout
        for waits, by_id in pending.items():
            gathering = _Gathering(waits, by_id, deadline, None if on_interval is None else interval)
            yield from gathering.run(on_message, on_interval)

    def then(
        self, callback: Callable[[Any], Any], on_error: Callable[[BaseException], Any] | None = None, weak: bool = False
    ) -> ResultSet:
        """Have `callback(self)` called when all have ended; `on_error(exception)` instead if one has failed and it is
        given. Returns this set."""
        leaves = list(self._leaves())
        left = {id(leaf) for leaf in leaves}

        def ended(leaf: AsyncResult[Any], result: Any) -> None:
            left.discard(id(leaf))
            if not left:
                self._fire(leaves, callback, on_error)

        if not leaves:
            callback(self)
        for leaf in leaves:
            leaf.then(partial(ended, leaf))
        return self

    def _fire(
        self,
        leaves: list[AsyncResult[Any]],
        callback: Callable[[Any], Any],
        on_error: Callable[[BaseException], Any] | None,
    ) -> None:
        bad = next((leaf for leaf in leaves if leaf.state in states.PROPAGATE_STATES), None)
        if on_error is not None and bad is not None:
            on_error(bad.result)
        else:
            callback(self)

    # -- as a value ------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{_ids(self.results)}]>"

    __class_getitem__: Any = classmethod(types.GenericAlias)


class GroupResult(ResultSet):
    """The results of a group: a set with an id, which `save` keeps for later. Celery's guide: Canvas, "Groups"."""

    def __init__(
        self, id: str | None = None, results: Iterable[Result] | None = None, parent: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(results, **kwargs)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Result]:
        """Its members."""
        return self.results

    def save(self, backend: Backend | None = None) -> None:
        """Keep the ids under the group's id, so that `restore` finds them."""
        saved_groups.save(self.app, backend or self.app.backend, self)

    def delete(self, backend: Backend | None = None) -> None:
        """Delete what `save` has kept."""
        saved_groups.delete(backend or self.app.backend, str(self.id))

    @classmethod
    def restore(cls, id: str, backend: Backend | None = None, app: Celery | None = None) -> GroupResult | None:
        """What `save` has kept under this id; None where there is nothing."""
        made = app or getattr(cls, "_bound", None) or current.get_current_app()
        return cast("GroupResult | None", saved_groups.restore(made, backend or made.backend, id))

    def as_tuple(self) -> tuple[Any, Any]:
        """`((id, parent), members)`, each as a tuple again."""
        return (self.id, self.parent and self.parent.as_tuple()), [result.as_tuple() for result in self.results]

    def as_list(self) -> list[Any]:
        """Its id and those of its parents."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else ())]

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return other.id == self.id and other.results == self.results and other.parent == self.parent
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]  # a set has none
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{_ids(self.results)}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return GroupResult, (self.id, self.results, self.parent)


class _Gathering:
    """One wait for many results of one backend."""

    def __init__(
        self,
        waits: Waits,
        by_id: dict[str, list[AsyncResult[Any]]],
        deadline: float | None,
        interval: float | None,
    ) -> None:
        self._waits = waits
        self._left = by_id
        self._deadline = deadline
        self._interval = interval

    def run(
        self, on_message: Callable[[dict[str, Any]], Any] | None, on_interval: Callable[[], Any] | None
    ) -> Iterator[AsyncResult[Any]]:
        patience, waits, wait = Patience(self._deadline), self._waits, None
        try:
            while self._left:
                try:
                    if wait is None:
                        wait = waits.begin(*self._left)
                    news = waits.next(wait, self._slice())
                except OperationalError as error:
                    patience.bear(error)
                    continue
                patience.answered()
                if news is not None:
                    yield from self._heed(*news, on_message)
                elif on_interval is not None:
                    on_interval()
        finally:
            if wait is not None:
                waits.end(wait)

    def _slice(self) -> float | None:
        """Seconds to wait. Raises: TimeoutError."""
        if self._deadline is None:
            return self._interval
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError("The operation timed out.")
        return left if self._interval is None else min(left, self._interval)

    def _heed(
        self, task_id: str, document: bytes, on_message: Callable[[dict[str, Any]], Any] | None
    ) -> Iterator[AsyncResult[Any]]:
        results = self._left.get(task_id, ())
        for result in results:
            meta = result._take(document)
            if on_message is not None:
                on_message(meta)
        if results and results[0]._cache is not None:
            del self._left[task_id]
            yield from results


def _ids(results: Iterable[Result]) -> str:
    return ", ".join(str(result.id) for result in results)
