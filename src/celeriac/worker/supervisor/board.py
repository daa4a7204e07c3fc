"""The board: shared memory in which each runner shows what it runs, and its supervisor says what it may start.

A runner writes the first half of its slot, the supervisor the second; neither waits for the other. It holds numbers
only, never payloads, and no lock: a reader may see one field older than the next, and every decision taken from it is
checked again by the broker (a settlement of what is no longer one's own is refused).
"""

from __future__ import annotations

import mmap
import os
import struct

#: Bytes a slot; one cache line for each writer, so that they do not slow each other down.
SLOT = 128
_SUPERVISOR = 64

#: Written by the runner: receipt running now (0: none), since when (monotonic seconds), turns made.
_RUNNING = struct.Struct("<QdQ")
_TURNS = struct.Struct("<Q")
#: Written by the supervisor: start nothing after this instant (monotonic); receipts in (low, high] are given back.
_LEAVE = struct.Struct("<dQQ")

#: `high` while a give-back is under way: what exactly goes back is not known yet.
PENDING = 2**64 - 1
#: `high` above every receipt.
ALL = PENDING - 1


class Board:
    """Shared memory of `slots` slots. Create it in the supervisor, attach by file descriptor in the runners."""

    def __init__(self, slots: int, fd: int | None = None) -> None:
        self.slots = slots
        self.fd = _shared_file(slots * SLOT) if fd is None else fd
        self._memory = mmap.mmap(self.fd, slots * SLOT)

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)

    def desk(self, slot: int) -> Desk:
        """The runner's view of its slot."""
        return Desk(self._memory, slot)

    # -- the supervisor's side ---------------------------------------------------------------------------------------

    def reset(self, slot: int) -> None:
        """A new runner is about to use the slot: it runs nothing, and may start nothing until `allow`."""
        base = slot * SLOT
        self._memory[base : base + SLOT] = bytes(SLOT)

    def running(self, slot: int) -> tuple[int, float, int]:
        """(receipt or 0, since when in monotonic seconds, turns made)."""
        receipt, since, turns = _RUNNING.unpack_from(self._memory, slot * SLOT)
        return receipt, since, turns

    def allow(self, slot: int, until: float) -> None:
        """The lease is good until then (monotonic seconds): later the runner starts nothing new."""
        struct.pack_into("<d", self._memory, slot * SLOT + _SUPERVISOR, until)

    def withdraw(self, slot: int, low: int, high: int) -> None:
        """Receipts above `low` and up to `high` are not the runner's any more; it must not start them."""
        struct.pack_into("<QQ", self._memory, slot * SLOT + _SUPERVISOR + 8, low, high)


class Desk:
    """One slot as its runner sees it. Every method costs well under a microsecond: two are on the hot path."""

    __slots__ = ("_base", "_leave", "_memory", "_turns")

    def __init__(self, memory: mmap.mmap, slot: int) -> None:
        self._memory = memory
        self._base = slot * SLOT
        self._leave = self._base + _SUPERVISOR
        self._turns = 0

    def start(self, receipt: int, now: float) -> None:
        """`receipt` runs from `now` on; 0 when nothing does."""
        _RUNNING.pack_into(self._memory, self._base, receipt, now, self._turns)

    def turn(self) -> None:
        """One more answer of the broker: the sign of life that the watchdog reads."""
        self._turns += 1
        _TURNS.pack_into(self._memory, self._base + 16, self._turns)

    def leave(self) -> tuple[float, int, int]:
        """(start nothing after, low, high): receipts in (low, high] were given back."""
        until, low, high = _LEAVE.unpack_from(self._memory, self._leave)
        return until, low, high


def _shared_file(size: int) -> int:
    """An inheritable descriptor of memory that has no name and goes with its last user."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("celeriac-board")
    else:
        import tempfile  # not on Linux, where it would cost a tenth of the start

        fd, path = tempfile.mkstemp(prefix="celeriac-board")
        os.unlink(path)
    os.ftruncate(fd, size)
    os.set_inheritable(fd, True)
    return fd
