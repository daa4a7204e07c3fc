"""Arming: a body runs armed if something may have to interrupt it (a time limit, a revocation). Whoever interrupts
strikes only between `call`'s beginning and its end, so never the code around a body. Values and a port; no I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, Protocol

#: `Arm.call` for one receipt.
Call = Callable[[Callable[..., Any], Any, Any], Any]
#: Awaits a body's coroutine in such a way that it can be interrupted.
AsyncArm = Callable[[Awaitable[Any]], Awaitable[Any]]


class Arm(Protocol):
    """One for each place where bodies run."""

    def call(self, receipt: int, body: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the body armed for this receipt. Raises: what it raises, and what it was struck with - never later."""
        ...


def in_our_code(frame: FrameType | None, body: FrameType | None = None) -> bool:
    """Whether the stack that ends in `frame` is inside our own code that a body called: there nothing may strike.

    `body` is the frame of `Arm.call`, at which the look ends. Celery's calls from a body come through here (`delay`,
    `get`), whatever lies deeper.
    """
    while frame is not None and frame is not body:
        if frame.f_globals.get("__name__", "").startswith("celeriac."):
            return True
        frame = frame.f_back
    return False
