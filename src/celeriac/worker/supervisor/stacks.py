"""Stacks: what every thread of every process of a node is at, on SIGUSR1, in the log. For nodes that seem to hang.

Each process writes its own on SIGUSR2, by a handler in C that runs in a busy loop and in a blocking call as well, into
a file that all of them share. They are asked one after the other, by a thread, since one may be frozen.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from fcntl import F_GETFL, F_SETFL, fcntl

logger = logging.getLogger("celeriac.worker")

#: Seconds that a process has to answer, and that an answer must not have grown for to be whole.
ANSWER, WHOLE = 5.0, 0.2

#: The name and the id of a process.
Who = tuple[str, int]


def shared_file() -> int:
    """An inheritable descriptor of a file without a name, which every write goes to the end of."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("celeriac-stacks")
    else:
        import tempfile

        fd, path = tempfile.mkstemp(prefix="celeriac-stacks")
        os.unlink(path)
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | os.O_APPEND)
    os.set_inheritable(fd, True)
    return fd


def answer(fd: int) -> None:
    """From here on this process and its forks write their stacks when asked."""
    faulthandler.register(signal.SIGUSR2, file=fd, all_threads=True, chain=False)


class Stacks:
    """`ask` as often as you like: while one round is under way, another is not begun."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._thread: threading.Thread | None = None

    def ask(self, others: Sequence[Who]) -> None:
        """Log our own stacks, then those of the others, from a thread."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._ask, args=(list(others),), name="stacks", daemon=True)
            self._thread.start()

    def _ask(self, others: list[Who]) -> None:
        self._log(("supervisor", os.getpid()), lambda: faulthandler.dump_traceback(self._fd, all_threads=True))
        for name, pid in others:
            self._log((name, pid), lambda pid=pid: os.kill(pid, signal.SIGUSR2))  # type: ignore[misc]

    def _log(self, who: Who, ask: Callable[[], None]) -> None:
        os.ftruncate(self._fd, 0)
        with suppress(ProcessLookupError):
            ask()
        logger.warning("stacks of %s (process %d):\n%s", *who, self._answered() or "(no answer: frozen, or gone)")

    def _answered(self) -> str:
        size, since, deadline = 0, time.monotonic(), time.monotonic() + ANSWER
        while (now := time.monotonic()) < deadline and not (size and now - since > WHOLE):
            if (grown := os.fstat(self._fd).st_size) != size:
                size, since = grown, now
            time.sleep(0.01)
        return os.pread(self._fd, size, 0).decode(errors="replace")
