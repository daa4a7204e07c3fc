"""Safe points: where a wait of ours asks whether the body that waits is to be interrupted, and lets that be raised.

Whoever interrupts bodies never strikes inside our own code, so a body that waits there would not be told before it
comes out. Only at places where nothing is held and all is put in order by whoever waits: `look` may raise anything.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable

#: Raises what the body that runs in this thread is owed; else seconds after which to look again.
Look = Callable[[], float]


class _Here(threading.local):
    """Of this thread; of this greenlet, where those have taken the place of threads."""

    look: Look | None = None


_here = _Here()


def run_bodies_here(look: Look) -> None:
    """This thread runs bodies from now on; `look` is called in it."""
    _here.look = look


def look() -> float:
    """Seconds within which to look again: for ever, where no body runs. Raises: what the body is to be told."""
    here = _here.look
    return math.inf if here is None else here()


def _after_fork() -> None:
    _here.look = None  # what a body forks is no run of a worker


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
