"""Lanes that are threads: as many as run tasks at the same time, started on demand, each with its own inbox.

Each is its own arm. A strike (`PyThreadState_SetAsyncExc`) is set off while the thread is known to be in the user's
code, and is taken back if the body has ended before it came. A body that waits in our own code is owed what cannot
strike it there, and raises it itself at our next safe point.
"""

from __future__ import annotations

import ctypes
import math
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from ....brokers.base import Settlement
from ....execution import coroutines
from ....execution.admission import Admitted
from ....execution.arming import Arm, at_safe_point, calls_bodies, in_our_code
from ....foundation import safe_points
from .base import Ended, Tell, break_off

#: `Tracer.trace`.
Trace = Callable[[Admitted, Arm], Settlement | None]


#: Seconds between looks at safe points, of a body with limits and of one that may only be terminated.
_LOOK, _RARELY = 0.1, 1.0


class ThreadLanes:
    """`Lanes`, `size` threads at most."""

    def __init__(self, trace: Trace, size: int, tell: Tell, kind: type[LaneThread] | None = None) -> None:
        self._trace = trace
        self._size = size
        self._tell = tell
        self._kind = kind or LaneThread
        self._started = 0
        #: Those that wait for work; a thread enters itself when its body has ended.
        self._idle: deque[LaneThread] = deque()
        self._at: dict[int, LaneThread] = {}

    def run(self, main: Callable[[], int]) -> int:
        return main()

    def room(self, work: Admitted, before: int) -> bool:
        return len(self._idle) + self._size - self._started > before

    def submit(self, batch: Sequence[tuple[int, Admitted]]) -> None:
        for lane, work in batch:
            thread = self._idle.pop() if self._idle else self._start()
            self._at[lane] = thread
            thread.inbox.put((lane, work))

    def interrupt(self, lane: int, receipt: int, error: BaseException) -> bool:
        thread = self._at.get(lane)
        return thread is not None and thread.strike(receipt, error)

    def _start(self) -> LaneThread:
        self._started += 1
        thread = self._kind(self._trace, self._tell, self._idle, f"lane-{self._started}")
        thread.start()
        return thread


class LaneThread(threading.Thread):
    """Runs what comes into its inbox, one after the other."""

    def __init__(self, trace: Trace, tell: Tell, idle: deque[LaneThread], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.inbox: queue.SimpleQueue[tuple[int, Admitted]] = queue.SimpleQueue()
        self._trace = trace
        self._tell = tell
        self._idle = idle
        #: The receipt whose body is on the stack; 0: none. Set to 0 by this thread, without the lock.
        self._armed = 0
        #: Held by whoever sets off a strike, and by this thread to learn whether one is under way.
        self._striking = threading.RLock()
        #: A strike was set off and has not come yet.
        self._pending = False
        #: What could not strike in our own code, and what was raised there; both die with the armed body.
        self._owed: BaseException | None = None
        self._told: BaseException | None = None
        self._limited = False

    def run(self) -> None:
        safe_points.run_bodies_here(self._look)
        clock = time.monotonic
        while True:
            lane, work = self.inbox.get()
            began = clock()
            self._limited = work.limits is not None
            try:
                settlement = self._trace(work, self)
            except BaseException as error:
                break_off(work, error)
            self._idle.append(self)
            self._tell(Ended(lane, work, settlement, clock() - began))

    # -- the arm -----------------------------------------------------------------------------------------------------

    @calls_bodies
    def call(self, receipt: int, body: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """See `Arm.call`."""
        try:
            self._armed = receipt
            return body(*args, **kwargs)
        finally:
            try:
                self._disarm()
            except BaseException:  # it came just before: there is never more than one
                self._disarm()

    def _disarm(self) -> None:
        """Nothing strikes any more once this has returned. One that comes while it is at work is dropped: the body has
        ended by itself."""
        while True:
            try:
                self._armed = 0
                with self._striking:
                    if self._pending:
                        self._take_back()
                        self._pending = False
                    self._owed = self._told = None
                return
            except BaseException:  # the strike itself, and nothing else raises here
                while self._striking._is_owned():  # type: ignore[attr-defined]
                    self._striking.release()

    def strike(self, receipt: int, error: BaseException) -> bool:
        """See `Lanes.interrupt`; called by another thread."""
        # Waking up gives us the interpreter for a whole switch interval: nobody moves between the look and the blow.
        time.sleep(0.0001)
        with self._striking:
            if self._armed != receipt:
                return False
            if coroutines.interrupt(self.ident or 0, error):
                return True
            if self._told is error:
                return True
            if in_our_code(self._frame()):
                self._owed = error
                return False
            self._owed = None
            if not self._pending:
                self._pending = True
                self._set_off(error)
            return True

    def _look(self) -> float:
        """For `safe_points`, in this thread."""
        if not self._armed or coroutines.in_loop(threading.get_ident()):
            return math.inf
        if self._owed is not None and at_safe_point(sys._getframe()):
            with self._striking:
                self._told, self._owed = self._owed, None
            if self._told is not None:
                raise self._told
        return _LOOK if self._limited else _RARELY

    def _frame(self) -> FrameType | None:
        return sys._current_frames().get(self.ident or 0)

    def _set_off(self, error: BaseException) -> None:
        _raise_in(self.ident, self._carrier(error))

    def _take_back(self) -> None:
        _raise_in(self.ident, None)

    def _carrier(self, error: BaseException) -> type[BaseException]:
        """A class that becomes this very exception when the interpreter makes an instance of it: it takes classes only.
        That is the moment in which it strikes."""

        class Carrier(BaseException):
            def __new__(cls) -> Any:
                self._pending = False
                return error

        return Carrier


_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc


def _raise_in(ident: int | None, kind: type[BaseException] | None) -> None:
    _set_async_exc(ctypes.c_ulong(ident or 0), ctypes.py_object() if kind is None else ctypes.py_object(kind))
