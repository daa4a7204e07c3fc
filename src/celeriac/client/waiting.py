"""`Waits`: all of a process's waits for results on one `Watch`, however many threads wait.

One waiter at a time, the leader, reads the watch, hands every document to whoever waits for it, and passes the lead on
when its own has come. A thread that waits alone therefore reads its result itself, with no other thread in between.
`then` callbacks are served by one background thread that waits like everybody else and ends when it has nothing to wait
for. Documents are passed on as bytes; what they mean is for `result` to say.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import OperationalError
from ..foundation import safe_points

if TYPE_CHECKING:
    from ..backends.base import Backend, Watch

logger = logging.getLogger("celery.result")

#: Seconds: the longest single read; bounds what a broken push could cost.
_SLICE = 30.0
#: Seconds that the watch's connection is kept with nobody waiting; one idle for longer is opened anew, since something
#: between here and the server may have forgotten it without telling.
_KEEP = 30.0

#: Seconds before the background thread tries a backend again that was away.
_PAUSE = 1.0

#: Takes a document; true when nothing more is wanted. Must not block or raise.
Take = Callable[[bytes], bool]


#: What `next` returns where nothing has come but `nudge` was called.
NUDGE = ("", b"")


class Closed(OperationalError):
    """The app was closed under a wait: trying again makes no sense."""


class HasBackend(Protocol):
    """What a `Waits` needs of an app."""

    @property
    def backend(self) -> Backend: ...


class Wait:
    """One waiter for the documents of one task or more. Fields belong to the lock of its `Waits`."""

    __slots__ = ("_signal", "documents", "ids")

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.documents: deque[tuple[str, bytes]] = deque()
        self._signal = threading.Lock()
        self._signal.acquire()

    def wake(self) -> None:
        """There is a document, or the lead is free. The lock is held; waking twice is waking once."""
        if self._signal.locked():
            self._signal.release()

    def sleep(self, timeout: float) -> None:
        """Until woken, or for `timeout` seconds."""
        self._signal.acquire(timeout=timeout)


class Waits:
    """The waits of one backend. Shared by threads; begins anew in a forked child."""

    def __init__(self, app: HasBackend) -> None:
        self._app = app
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        #: Orders `add` and `remove` of the watch, which may take a moment: held around them, never around `_lock`.
        self._watching = threading.Lock()
        self._waits: dict[str, list[Wait]] = {}
        self._watch: Watch | None = None
        self._idle_since = 0.0
        #: Who reads the watch.
        self._leader: Wait | None = None
        #: Who is inside `next` without the lead, first come first: only they can take it over.
        self._sleepers: dict[Wait, None] = {}
        self._background: _Background | None = None
        #: What `awaiting` keeps here: the coroutines that wait.
        self.crowd: Any = None

    # -- one wait --------------------------------------------------------------------------------------------

    def begin(self, *task_ids: str) -> Wait:
        """Start waiting: every document of the tasks that is stored already or from now on comes out of `next`.

        Raises: OperationalError. Whoever begins a wait ends it.
        """
        wait = Wait()
        self.add(wait, *task_ids)
        return wait

    def add(self, wait: Wait, *task_ids: str) -> None:
        """Have `wait` wait for these as well. Raises: OperationalError, and then it does not."""
        try:
            self._add(wait, task_ids)
        except BaseException:
            self.drop(wait, *task_ids)
            raise

    def _add(self, wait: Wait, task_ids: Sequence[str]) -> None:
        new: list[str] = []
        known: list[str] = []
        with self._lock:
            watch = self._open()
            for task_id in task_ids:
                waits = self._waits.setdefault(task_id, [])
                waits.append(wait)
                wait.ids.add(task_id)
                (known if len(waits) > 1 else new).append(task_id)
        if new:
            with self._watching:
                watch.add(new)
        if known:  # the watch has told the others already and need not tell again
            self.again(wait, *known)

    def again(self, wait: Wait, *task_ids: str) -> None:
        """Give `wait`, which waits for these already, what is stored of them once more."""
        self._deliver(self._app.backend.get_many(task_ids), wait)

    def next(self, wait: Wait, timeout: float | None = None) -> tuple[str, bytes] | None:
        """The next (task id, document), or None after `timeout` seconds (None: no limit).

        Raises: OperationalError, if the backend stays away or `close` is called meanwhile.
        """
        try:
            return self._next(wait, None if timeout is None else monotonic() + timeout)
        finally:
            # However this ended (a document, the time, an interrupt): a free lead must not stay free.
            with self._lock:
                self._offer_lead()

    def _next(self, wait: Wait, deadline: float | None) -> tuple[str, bytes] | None:
        while True:
            # Nothing is held here: a body whose time is over is told so, and whoever began the wait ends it.
            most = min(_SLICE, safe_points.look())
            with self._lock:
                if wait.documents:
                    return wait.documents.popleft()
                left = most if deadline is None else min(most, deadline - monotonic())
                if left <= 0:
                    return None
                watch = self._watch
                if watch is None:
                    raise Closed("the result backend was closed while a result was waited for")
                leads = self._leader is None
                if leads:
                    self._leader = wait
                else:
                    self._sleepers[wait] = None
            if leads:
                self._read(watch, left)
            else:
                self._sleep(wait, left)

    def end(self, wait: Wait) -> None:
        """Stop waiting. A task that nobody waits for is no longer watched."""
        self.drop(wait, *tuple(wait.ids))

    def drop(self, wait: Wait, *task_ids: str) -> None:
        """Have `wait` no longer wait for these tasks."""
        left: list[str] = []
        with self._lock:
            for task_id in task_ids:
                wait.ids.discard(task_id)
                waits = self._waits.get(task_id)
                if waits is None or wait not in waits:
                    continue
                waits.remove(wait)
                if not waits:
                    del self._waits[task_id]
                    left.append(task_id)
            if not left:
                return
            self._idle_since = monotonic()
            watch = self._watch
        with self._watching:
            # Somebody may have begun to wait for one in between, and then its `add` has been or will be after this.
            left = [task_id for task_id in left if task_id not in self._waits]
            if watch is not None and left:
                watch.remove(left)

    def nudge(self, wait: Wait) -> None:
        """From any thread: have the `next` of this wait return NUDGE soon. Does not block."""
        with self._lock:
            wait.documents.append(NUDGE)
            wait.wake()
            watch = self._watch if self._leader is wait else None
        if watch is not None:
            watch.interrupt()

    def _read(self, watch: Watch, timeout: float) -> None:
        try:
            arrived = watch.wait(timeout)
            if arrived:
                self._deliver(arrived)
        finally:
            with self._lock:
                self._leader = None

    def _sleep(self, wait: Wait, timeout: float) -> None:
        try:
            wait.sleep(timeout)
        finally:
            with self._lock:
                self._sleepers.pop(wait, None)

    def _offer_lead(self) -> None:
        """Wake the first sleeper if nobody leads; the lock is held."""
        if self._leader is None:
            for sleeper in self._sleepers:
                sleeper.wake()
                return

    def _deliver(self, documents: Mapping[str, bytes], only: Wait | None = None) -> None:
        with self._lock:
            for task_id, document in documents.items():
                for wait in self._waits.get(task_id, ()):
                    if only is None or wait is only:
                        wait.documents.append((task_id, document))
                        wait.wake()

    def _open(self) -> Watch:
        """The watch, opened at first use; the lock is held."""
        watch = self._watch
        if watch is not None and not self._waits and monotonic() - self._idle_since > _KEEP:
            self._watch = None
            watch.close()
            watch = None
        if watch is None:
            watch = self._watch = self._app.backend.watch()
        return watch

    # -- callbacks -------------------------------------------------------------------------------------------

    def then(self, task_id: str, take: Take) -> None:
        """Have `take` called from the background thread with every document, until it returns true."""
        while True:
            with self._lock:
                if self._background is None or self._background.ended:
                    self._background = _Background(self)
                background = self._background
            if background.accept(task_id, take):
                return

    def close(self) -> None:
        """Close the connection. Waits under way end with an error; the next one opens another."""
        with self._lock:
            watch, self._watch = self._watch, None
            background, self._background = self._background, None
            for sleeper in self._sleepers:
                sleeper.wake()
            self._waits.clear()
        if background is not None:
            background.stop()
        if watch is not None:
            watch.interrupt()
            watch.close()


class _Background:
    """The thread behind `then`: it waits for many tasks at once and calls what waits for them.

    A daemon, because a program must be able to end while a result never comes.
    """

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._wait = Wait()
        self._lock = threading.Lock()
        self._takes: dict[str, list[Take]] = {}
        self.ended = False
        self._started = False

    def accept(self, task_id: str, take: Take) -> bool:
        """Take on one more; False when the thread has just ended."""
        with self._lock:
            if self.ended:
                return False
            takes = self._takes.setdefault(task_id, [])
            takes.append(take)
            start, self._started = not self._started, True
        try:
            if len(takes) == 1:
                self._waits.add(self._wait, task_id)
            else:
                self._waits.again(self._wait, task_id)
        except BaseException:
            self._forget(task_id, take)
            raise
        finally:
            if start:
                threading.Thread(target=self._run, name="celeriac-then", daemon=True).start()
        return True

    def _run(self) -> None:
        try:
            while self._goes_on():
                news = self._next()
                if news is not None:
                    self._tell(*news)
        finally:
            self._waits.end(self._wait)

    def _goes_on(self) -> bool:
        with self._lock:
            self.ended = not self._takes
            return not self.ended

    def _next(self) -> tuple[str, bytes] | None:
        try:
            return self._waits.next(self._wait)
        except OperationalError as error:
            # Whoever asked for a callback is not there to hear of it, so it is tried until it works.
            if not self._takes:
                return None
            logger.warning("waiting for results: %s", error)
            threading.Event().wait(_PAUSE)
            for task_id in tuple(self._takes):
                self._rejoin(task_id)
            return None

    def _rejoin(self, task_id: str) -> None:
        with suppress(OperationalError):
            self._waits.drop(self._wait, task_id)
            self._waits.add(self._wait, task_id)

    def _tell(self, task_id: str, document: bytes) -> None:
        with self._lock:
            takes = list(self._takes.get(task_id, ()))
        left = [take for take in takes if not take(document)]
        with self._lock:
            added = self._takes.get(task_id, [])[len(takes) :]
            if left or added:
                self._takes[task_id] = left + added
                return
            self._takes.pop(task_id, None)
        self._waits.drop(self._wait, task_id)

    def _forget(self, task_id: str, take: Take) -> None:
        with self._lock:
            takes = self._takes.get(task_id, [])
            if take in takes:
                takes.remove(take)
            if not takes:
                self._takes.pop(task_id, None)

    def stop(self) -> None:
        """Forget all callbacks; the thread ends."""
        with self._lock:
            self._takes.clear()


class _Only:
    """A backend in the place of an app, for `Waits`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = weakref.ref(backend)

    @property
    def backend(self) -> Backend:
        backend = self._backend()
        if backend is None:
            raise OperationalError("the result backend is gone")
        return backend


_others: weakref.WeakKeyDictionary[Backend, Waits] = weakref.WeakKeyDictionary()


def waits_of(backend: Backend) -> Waits:
    """The waits of a backend that is not an app's own."""
    waits = _others.get(backend)
    if waits is None:
        waits = _others.setdefault(backend, Waits(_Only(backend)))
    return waits


_all: weakref.WeakSet[Waits] = weakref.WeakSet()


def _after_fork() -> None:
    # The connection is the parent's, and so are the threads that waited on it.
    for waits in list(_all):
        waits._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
