"""The file to which task bodies append when they ran: read here, written by `apps.bodies`.

A record is 8 bytes (a monotonic time) or 16 (task number, 1 at start and 2 at end, monotonic time). The clock is the
kernel's, the same for all processes; appends of this size are atomic, so no lock slows the bodies.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

STAMP = struct.Struct("<d")
MARK = struct.Struct("<iid")


class Mark(NamedTuple):
    """One record of a numbered task."""

    number: int
    phase: int
    at: float


class Stalled(RuntimeError):
    """Nothing more ran."""


class Stamps:
    """The records of one measurement."""

    def __init__(self, path: Path, *, numbered: bool = False) -> None:
        self.path = path
        self._size = (MARK if numbered else STAMP).size
        path.write_bytes(b"")

    def __len__(self) -> int:
        return self.path.stat().st_size // self._size

    def times(self) -> list[float]:
        """Plain stamps, in ascending order."""
        return sorted(value for (value,) in STAMP.iter_unpack(self.path.read_bytes()))

    def marks(self) -> list[Mark]:
        """Numbered records, in the order in which they were written."""
        return [Mark(*record) for record in MARK.iter_unpack(self.path.read_bytes())]

    def wait(self, count: int, alive: Callable[[], bool], *, patience: float = 20.0, interval: float = 0.02) -> None:
        """Return once there are `count` records.

        Raises: Stalled when the worker ended, or when `patience` seconds bring no new record.
        """
        seen, since = 0, time.monotonic()
        while (now := len(self)) < count:
            if now > seen:
                seen, since = now, time.monotonic()
            elif not alive():
                raise Stalled(f"the worker ended by itself at {now} of {count} records")
            elif time.monotonic() - since > patience:
                raise Stalled(f"no new record for {patience:.0f} s at {now} of {count}")
            time.sleep(interval)


def rate(times: list[float]) -> float:
    """Tasks per second between the first and the last."""
    return (len(times) - 1) / (times[-1] - times[0])
