"""Striking: how the main thread's body is interrupted - by signals, which its supervisor sends and says whom they mean.

SIGUSR1 raises `SoftTimeLimitExceeded` in the body: at its soft limit, or where it is terminated with this very signal.
The signals that end a process (SIGTERM …) end it only if the board says that its present run is to end by them; else
they came from a service manager, and the run has its grace. The supervisor sends a soft limit's signal again and again
until the board says that it struck, so one that comes at a moment when nothing may be struck is not lost. A body that
waits in our own code asks at our safe points, by the same rules.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from ...errors import SoftTimeLimitExceeded, Terminated
from ...execution import coroutines
from ...execution.admission import Admitted
from ...execution.arming import at_safe_point, calls_bodies, in_our_code
from ...foundation import safe_points
from ..supervisor.board import Desk
from ..supervisor.deadlines import as_said

#: They end a process that says nothing else.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
#: Strikes the body.
STRIKE = signal.SIGUSR1

#: Seconds between looks at safe points: of a body that may be terminated, and of one that is late already.
_LOOK, _LATE = 1.0, 0.1


class MainThread:
    """The arm (`execution.arming`) of the main thread, whose lane on the board is `desk`. `tell(limit, work)` is called
    in the handler, with the body on the stack; `alone`: its supervisor is a thread of the same process."""

    def __init__(
        self,
        desk: Desk,
        tell: Callable[[float, Admitted], None],
        *,
        alone: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._tell = tell
        self._alone = alone
        self._clock = clock
        self._pid = os.getpid()
        self._thread = threading.get_ident()
        self._work: Admitted | None = None
        #: When the armed body exceeds its soft limit.
        self._until = 0.0
        #: The receipt whose body is on the stack, armed; and the frame that called it.
        self._armed = 0
        self._frame: FrameType | None = None

    def expect(self, work: Admitted, until: float) -> None:
        """The next body is that of `work`; its soft limit is over at `until` (monotonic; 0.0: it has none)."""
        self._work, self._until = work, until

    @calls_bodies
    def call(self, receipt: int, body: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """As `Arm.call`. A strike disarms: whatever comes after it is not struck, the lines below included."""
        self._frame = sys._getframe()
        self._armed = receipt
        try:
            return body(*args, **kwargs)
        finally:
            self._armed = 0
            self._frame = None

    def look(self) -> float:
        """For `safe_points`: as a signal would, had it come in the body that waits here."""
        if not self._desk.running() or coroutines.in_loop(self._thread):
            return math.inf
        error = self._meant() if at_safe_point(sys._getframe()) else None
        if error is not None:
            self._armed, self._frame = 0, None
            raise error
        if not self._armed or not self._until:
            return _LOOK
        left = self._until - self._clock()
        return min(left, _LOOK) if left > 0 else _LATE

    # -- signals -----------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Main thread only. What a task forks gets the system's own behaviour back."""
        signal.signal(STRIKE, self.strike)
        safe_points.run_bodies_here(self.look)
        if not self._alone:
            for number in ENDING:
                # A handler that may do nothing: what is ignored stays ignored in programs that a task starts.
                signal.signal(number, self.end)
        numbers = (STRIKE,) if self._alone else (STRIKE, *ENDING)
        os.register_at_fork(after_in_child=lambda: [signal.signal(number, signal.SIG_DFL) for number in numbers])

    def end(self, number: int, frame: FrameType | None) -> None:
        """End the process, if its run is to end by this signal."""
        if self._condemned(number):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def strike(self, number: int, frame: FrameType | None) -> None:
        """Raise in the body what is meant for it, if anything is and the body may be struck where it is."""
        if os.getpid() != self._pid:
            return
        waits = coroutines.in_loop(self._thread)
        if not waits and not self._may_strike(frame):
            return
        error = self._meant()
        if error is None or (waits and coroutines.interrupt(self._thread, error)):
            return
        self._armed, self._frame = 0, None
        raise error

    def _may_strike(self, frame: FrameType | None) -> bool:
        """Not while our own code is being carried out, were it only that which calls the body."""
        if frame is None or in_our_code(frame):
            return False
        return frame is self._frame or not str(frame.f_globals.get("__name__", "")).startswith("celeriac.")

    def _meant(self) -> BaseException | None:
        if self._condemned(STRIKE):
            # Also a default of `terminate` where there is no process to end.
            return Terminated(int(STRIKE)) if self._alone else _gently_terminated()
        work, now = self._work, self._clock()
        if not self._armed or work is None or not 0.0 < self._until <= now:
            return None
        limits, self._until = work.limits, 0.0
        assert limits is not None
        self._desk.warned()
        self._tell(limits.soft, work)
        return SoftTimeLimitExceeded(as_said(limits.soft))

    def _condemned(self, number: int) -> bool:
        receipt, wanted = self._desk.ending()
        return bool(receipt) and wanted == number and receipt == self._desk.running()


def _gently_terminated() -> SoftTimeLimitExceeded:
    """A body that does not catch it was revoked, and did not fail."""
    error = SoftTimeLimitExceeded()
    error.terminated = True
    return error
