"""Lanes that are greenlets: the threads of `threads`, in a process where gevent or eventlet has made threads greenlets
before anything was imported (`worker.green`). Only a strike is another thing: it is thrown at a switch.

Everything shares one system thread here: a body that never switches holds up the others and this runner's own I/O. Its
lease is renewed by its supervisor all the same.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

from ....execution import coroutines
from .base import Tell
from .threads import LaneThread, ThreadLanes, Trace


def green_lanes(pool: str, trace: Trace, size: int, tell: Tell) -> ThreadLanes:
    """Of gevent or eventlet, as `pool` names them."""
    coroutines.refuse(f"-P {pool}")
    return ThreadLanes(trace, size, tell, GeventLane if pool == "gevent" else EventletLane)


class _GreenLane(LaneThread):
    _greenlet: Any = None

    def run(self) -> None:
        self._greenlet = self._current()
        super().run()

    def _current(self) -> Any:
        raise NotImplementedError

    def _frame(self) -> FrameType | None:
        frame: FrameType | None = self._greenlet.gr_frame
        return frame

    def _take_back(self) -> None:
        """Thrown at a switch it has struck, or the greenlet was never switched to again before the body ended."""


class GeventLane(_GreenLane):
    """Under `gevent.monkey`."""

    def _current(self) -> Any:
        import gevent

        return gevent.getcurrent()

    def _set_off(self, error: BaseException) -> None:
        import gevent

        gevent.get_hub().loop.run_callback(self._throw, error)

    def _throw(self, error: BaseException) -> None:
        """In the hub, so nobody else runs: still at the same place, or not at all."""
        self._pending = False
        if self._armed:
            self._greenlet.throw(error)


class EventletLane(_GreenLane):
    """Under `eventlet.monkey_patch`."""

    def _current(self) -> Any:
        import greenlet

        return greenlet.getcurrent()

    def _set_off(self, error: BaseException) -> None:
        from eventlet import hubs

        hubs.get_hub().schedule_call_global(0, self._throw, error)

    def _throw(self, error: BaseException) -> None:
        self._pending = False
        if self._armed:
            self._greenlet.throw(error)
