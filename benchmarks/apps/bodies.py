"""What tasks do: append a record to the file named by BENCH_STAMPS (layout: `benchmarks.stamps`), and little else.

Each returns a number, since huey stores no result for None.
"""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.stamps import MARK, STAMP

_file: int | None = None


def append(record: bytes) -> None:
    global _file
    if _file is None:
        _file = os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_APPEND)
    os.write(_file, record)


def stamp() -> int:
    """The no-op."""
    append(STAMP.pack(time.monotonic()))
    return 1


def nap() -> int:
    """A body that waits 1 ms."""
    append(STAMP.pack(time.monotonic()))
    time.sleep(0.001)
    return 1


def mark(number: int) -> int:
    """A body of 5 ms that tells its start and its end."""
    append(MARK.pack(number, 1, time.monotonic()))
    time.sleep(0.005)
    append(MARK.pack(number, 2, time.monotonic()))
    return number


def hear(**told: Any) -> None:
    """A receiver of a signal that does nothing with it."""
