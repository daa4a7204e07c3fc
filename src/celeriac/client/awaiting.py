"""Coroutines that wait for results: `await result`, `async for` over a group, on the process's one wait (`waiting`).

All coroutines of all event loops are one more waiter, a `Crowd`, with one thread that takes their orders in batches,
reads, and hands documents to their loops. A coroutine only ever puts an order down, so nothing here blocks a loop; who
is cancelled, or drops an iterator half read, leaves by the same way. What documents mean is for `result` to say.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import OperationalError
from .patience import Patience
from .waiting import Wait, Waits

if TYPE_CHECKING:
    import asyncio  # only those import it who have a loop

    from .result import AsyncResult

#: Seconds that the thread stays with nobody waiting: the next `await` of a loop need not start another.
_LINGER = 5.0
#: Seconds after which it looks for who has left without a word (`leave_some_time`). A backend that is away is found out
#: within one such wait: a shorter one could end before, and the minute of `Patience` would never be over.
_LOOK = 30.0


def crowd_of(waits: Waits) -> Crowd:
    """The one of these waits."""
    with waits._lock:
        if waits.crowd is None:
            waits.crowd = Crowd(waits)
        crowd: Crowd = waits.crowd
        return crowd


class Inbox:
    """Where one coroutine finds what has come. Belongs to the thread of its loop; `tell` is for all others."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[str, bytes] | BaseException] = deque()
        self._waker: asyncio.Future[None] | None = None

    def tell(self, news: tuple[str, bytes] | BaseException) -> bool:
        """From any thread. False: the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._put, news)
        except RuntimeError:
            return False
        return True

    def _put(self, news: tuple[str, bytes] | BaseException) -> None:
        self._arrived.append(news)
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def next(self) -> tuple[str, bytes]:
        """The next (task id, document). Raises: OperationalError."""
        while not self._arrived:
            self._waker = self._loop.create_future()
            try:
                await self._waker
            finally:
                self._waker = None
        news = self._arrived.popleft()
        if isinstance(news, BaseException):
            self._arrived.appendleft(news)  # nothing more will come: whoever asks again is told again
            raise news
        return news


class Crowd:
    """The coroutines that wait on one `Waits`, and their thread: a daemon that ends when it has long been idle."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._wait = Wait()
        #: Guards the orders and `_runs`; everything below them is the thread's own.
        self._changed = threading.Condition(threading.Lock())
        self._nudged = False
        self._orders: list[tuple[bool, Inbox, Sequence[str]]] = []
        self._runs = False
        self._inboxes: dict[str, list[Inbox]] = {}
        #: The watch may have lost what is asked for: ask for all of it again.
        self._stale = False

    # -- from the loops ----------------------------------------------------------------------------------------

    def join(self, inbox: Inbox, task_ids: Sequence[str]) -> None:
        """Tell `inbox` what is stored of these tasks, and what will be."""
        self._order(True, inbox, task_ids)

    def leave(self, inbox: Inbox, task_ids: Sequence[str]) -> None:
        """Tell it no more."""
        self._order(False, inbox, task_ids)

    def _order(self, joins: bool, inbox: Inbox, task_ids: Sequence[str]) -> None:
        with self._changed:
            self._orders.append((joins, inbox, task_ids))
            starts, self._runs = not self._runs, True
            nudges, self._nudged = not self._nudged, True  # who comes next is taken along
            self._changed.notify()
        if starts:
            threading.Thread(target=self._run, name="celeriac-await", daemon=True).start()
        elif nudges:
            self._waits.nudge(self._wait)

    def leave_some_time(self, inbox: Inbox, task_ids: Sequence[str]) -> None:
        """As `leave`, taking no lock: the thread finds it when it next looks. For collectors of garbage."""
        self._orders.append((False, inbox, task_ids))

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        patience = Patience(None)
        while self._goes_on():
            try:
                self._obey()
                if not self._inboxes:
                    self._wait.documents.clear()  # nudges, and what came too late for whoever has left
                else:
                    news = self._waits.next(self._wait, _LOOK)
                    patience.answered()
                    if news is not None and news[0]:
                        self._pass_on(*news)
            except OperationalError as error:
                self._bear(patience, error)
            except Exception as error:  # no result backend, say: whoever waits is told
                self._fail(error)

    def _goes_on(self) -> bool:
        with self._changed:
            if not self._orders and not self._inboxes:
                self._changed.wait(_LINGER)
            self._runs = bool(self._orders or self._inboxes)
            return self._runs

    def _obey(self) -> None:
        """Carry out the orders that have come. Raises: OperationalError."""
        with self._changed:
            orders, self._orders, self._nudged = self._orders, [], False
        before = set(self._inboxes)
        joined: set[str] = set()
        for joins, inbox, task_ids in orders:
            for task_id in task_ids:
                if joins:
                    self._inboxes.setdefault(task_id, []).append(inbox)
                    joined.add(task_id)
                else:
                    self._forget(task_id, inbox)
        now = self._inboxes.keys()
        self._waits.drop(self._wait, *(before if self._stale else before - now))
        new = set(now) if self._stale else now - before
        self._stale = True  # unless all of it works
        if new:
            self._waits.add(self._wait, *new)
        again = (joined & now) - new
        if again:  # the watch has told of these already
            self._waits.again(self._wait, *again)
        self._stale = False

    def _forget(self, task_id: str, inbox: Inbox) -> None:
        inboxes = self._inboxes.get(task_id, [])
        if inbox in inboxes:
            inboxes.remove(inbox)
        if not inboxes:
            self._inboxes.pop(task_id, None)

    def _pass_on(self, task_id: str, document: bytes) -> None:
        for inbox in tuple(self._inboxes.get(task_id, ())):
            if not inbox.tell((task_id, document)):
                self.leave(inbox, (task_id,))

    def _bear(self, patience: Patience, error: OperationalError) -> None:
        self._stale = True
        try:
            patience.bear(error)
        except OperationalError:
            patience.answered()
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Whoever waits waits no longer."""
        inboxes = {inbox for some in self._inboxes.values() for inbox in some}
        self._waits.drop(self._wait, *self._inboxes)
        self._inboxes.clear()
        self._stale = False
        for inbox in inboxes:
            inbox.tell(error)


class Arriving:
    """An async iterator over results as they end. Leaves the crowd when it is closed, or collected. A step that is
    cancelled (by `asyncio.wait_for`, say) may be taken again."""

    def __init__(self, results: Iterable[AsyncResult[Any]]) -> None:
        import asyncio

        self._joined: list[tuple[Crowd, list[str]]] = []
        self._ready: deque[AsyncResult[Any]] = deque()
        self._left: dict[str, list[AsyncResult[Any]]] = {}
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(self._loop)
        places: dict[Waits, dict[str, None]] = {}
        for result in results:
            if result._cache is not None:
                self._ready.append(result)
            elif not result.ignored:
                self._left.setdefault(result.id, []).append(result)
                places.setdefault(result._waits(), {})[result.id] = None
        for waits, ids in places.items():
            crowd = crowd_of(waits)
            crowd.join(self._inbox, list(ids))
            self._joined.append((crowd, list(ids)))

    def __aiter__(self) -> Arriving:
        return self

    async def __anext__(self) -> AsyncResult[Any]:
        while not self._ready:
            if not self._left:
                self.close()
                raise StopAsyncIteration
            self._take(*await self._inbox.next())
        return self._ready.popleft()

    def _take(self, task_id: str, document: bytes) -> None:
        results = self._left.get(task_id, [])
        for result in tuple(results):
            result._take(document)
            if result._cache is not None:
                results.remove(result)
                self._ready.append(result)
        if not results:
            self._left.pop(task_id, None)

    def close(self) -> None:
        """Nothing more is wanted."""
        joined, self._joined = self._joined, []
        _leave(self._inbox, joined)

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._joined:
            return
        try:  # this may run in any thread with any lock held
            self._loop.call_soon_threadsafe(_leave, self._inbox, self._joined)
        except RuntimeError:  # the loop is closed
            for crowd, ids in self._joined:
                crowd.leave_some_time(self._inbox, ids)


def _leave(inbox: Inbox, joined: Iterable[tuple[Crowd, Sequence[str]]]) -> None:
    for crowd, ids in joined:
        crowd.leave(inbox, ids)
