"""Arming: a body runs armed if something may have to interrupt it (a time limit, a revocation). Whoever interrupts
strikes only between `call`'s beginning and its end, so never the code around a body. Values and a port; no I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import CodeType, FrameType
from typing import Any, Protocol, TypeVar

#: `Arm.call` for one receipt.
Call = Callable[[Callable[..., Any], Any, Any], Any]
#: Awaits a body's coroutine in such a way that it can be interrupted.
AsyncArm = Callable[[Awaitable[Any]], Awaitable[Any]]

F = TypeVar("F", bound=Callable[..., Any])


class Arm(Protocol):
    """One for each place where bodies run."""

    def call(self, receipt: int, body: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the body armed for this receipt. Raises: what it raises, and what it was struck with - never later."""
        ...


_callers: set[CodeType] = set()


def calls_bodies(function: F) -> F:
    """Mark a function of ours that calls the user's code: what it calls is not ours again."""
    _callers.add(function.__code__)
    return function


def at_safe_point(frame: FrameType | None) -> bool:
    """Whether what our code raises in `frame` (`foundation.safe_points`) goes straight to the body that called it: no
    other code of ours is left half-way, as where we call what calls us again."""
    while frame is not None and frame.f_code not in _callers and _is_ours(frame):
        frame = frame.f_back
    return frame is not None and not in_our_code(frame)


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("celeriac.")


def calls_bodies_itself(frame: FrameType) -> bool:
    """Whether this very frame is of a function so marked."""
    return frame.f_code in _callers


def in_our_code(frame: FrameType | None) -> bool:
    """Whether the stack that ends in `frame` is inside our own code that a body called (`delay`, `get` and whatever
    lies deeper): there nothing may strike. False where the innermost code of ours is one that calls bodies."""
    while frame is not None:
        if frame.f_code in _callers:
            return False
        if _is_ours(frame):
            return True
        frame = frame.f_back
    return False
