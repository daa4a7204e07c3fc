"""The board: shared memory in which each runner shows what runs, and its supervisor says what it may start.

An area a runner: its header, the supervisor's answer, and a lane for each task it can run at a time. A runner writes
the first and the last, the supervisor the second; neither waits for the other. It holds numbers only, never payloads,
and no lock: a reader may see one field older than the next, and every decision taken from it is checked again by the
broker (a settlement of what is no longer one's own is refused).
"""

from __future__ import annotations

import mmap
import os
import struct

from msgspec import Struct

from ...errors import ImproperlyConfigured
from . import stacks

#: Bytes in all. Pages that nobody writes cost nothing.
_SIZE = 1 << 26
#: Where its last part begins, which `rates` uses.
_RATES = _SIZE - (1 << 20)
#: Bytes of an area before its lanes; one cache line for each writer, so that they do not slow each other down.
_SUPERVISOR = 64
_LANES = 128

#: Written by the runner: turns made; of runners with many lanes the receipt started last (0: nothing runs), and when.
_TURNS = struct.Struct("<Q")
_LAST = struct.Struct("<Qd")
#: Behind that: how many tasks ended here, and what they take by the running mean (seconds).
_RAN = struct.Struct("<Qd")
#: Last before the supervisor's: first and last receipt of those that have run and are not settled (0: there are none).
_UNSETTLED = struct.Struct("<QQ")
#: And behind that: of runners with many lanes the soonest hard deadline.
_LIMITED = struct.Struct("<d")
_LIMITED_AT = _TURNS.size + _LAST.size + _RAN.size
#: Written by the supervisor: start nothing after this instant (monotonic); receipts in (low, high] are given back.
_LEAVE = struct.Struct("<dQQ")
#: Written by the supervisor: the receipt whose run is to end by a signal, and the signal's number.
_ENDING = struct.Struct("<QQ")
#: A lane, written by the runner: receipt running now (0: none), since when, and until when by its soft and its hard
#: limit (monotonic seconds; 0: no limit).
_LANE = struct.Struct("<Qddd")
#: The first and the third of these.
_RECEIPT, _SOFT = struct.Struct("<Q"), struct.Struct("<d")

#: `high` while a give-back is under way: what exactly goes back is not known yet.
PENDING = 2**64 - 1
#: `high` above every receipt.
ALL = PENDING - 1


class Run(Struct, frozen=True):
    """One task that runs, as its runner's board shows it; instants in monotonic seconds, 0.0 for no limit."""

    receipt: int
    since: float
    soft: float
    hard: float


class Board:
    """Shared memory for `slots` runners of `lanes` lanes. Create it in the supervisor, attach by descriptor in others.

    `shape` says how many there are, where that was not known at the creation; all sides must say the same.
    """

    def __init__(self, slots: int = 1, lanes: int = 1, fd: int | None = None) -> None:
        self.fd = _shared_file(_SIZE) if fd is None else fd
        self._memory = mmap.mmap(self.fd, _SIZE)
        self.shape(slots, lanes)
        #: The file to which processes write their stacks (`stacks`); it travels with the board.
        self.stacks = stacks.shared_file() if fd is None else -1

    def shape(self, slots: int, lanes: int) -> None:
        """So many runners of so many lanes. Raises: ImproperlyConfigured where there is no room for them."""
        self.lanes = lanes
        self._stride = -(-(_LANES + lanes * _LANE.size) // 64) * 64  # whole cache lines
        #: Twice as many, where there is room: a runner's successor starts before it ends.
        self.areas = min(2 * slots, _RATES // self._stride)
        if slots > self.areas:
            raise ImproperlyConfigured(f"{slots} processes of {lanes} slots each are more than one node can watch")

    def close(self) -> None:
        self._memory.close()
        os.close(self.fd)
        if self.stacks >= 0:
            os.close(self.stacks)

    def rates_area(self) -> tuple[mmap.mmap, int, int, int]:
        """(memory, descriptor, offset, size) of the part that `rates` uses."""
        return self._memory, self.fd, _RATES, _SIZE - _RATES

    def desk(self, slot: int, lane: int = 0) -> Desk:
        """The runner's view of its area, for its lane `lane`."""
        return Desk(self._memory, slot * self._stride, lane)

    # -- the supervisor's side ---------------------------------------------------------------------------------------

    def reset(self, slot: int) -> None:
        """A new runner is about to use the area: it runs nothing, and may start nothing until `allow`."""
        base = slot * self._stride
        self._memory[base : base + self._stride] = bytes(self._stride)

    def runs(self, slot: int) -> list[Run]:
        """All that runs in this runner now."""
        base = slot * self._stride + _LANES
        lanes = self._memory[base : base + self.lanes * _LANE.size]
        return [Run(*fields) for fields in _LANE.iter_unpack(lanes) if fields[0]]

    def last(self, slot: int) -> tuple[int, float]:
        """The receipt that was started last (0: nothing runs), and when."""
        if self.lanes == 1:
            receipt, since, _, _ = _LANE.unpack_from(self._memory, slot * self._stride + _LANES)
        else:
            receipt, since = _LAST.unpack_from(self._memory, slot * self._stride + _TURNS.size)
        return receipt, since

    def limited(self, slot: int) -> float:
        """Where there are many lanes: the soonest hard deadline of what runs in any of them; 0.0: there is none."""
        return float(_LIMITED.unpack_from(self._memory, slot * self._stride + _LIMITED_AT)[0])

    def ran(self, slot: int) -> tuple[int, float]:
        """How many tasks ended in this runner, and the seconds that its tasks take by its running mean."""
        tasks, mean = _RAN.unpack_from(self._memory, slot * self._stride + _TURNS.size + _LAST.size)
        return tasks, mean

    def unsettled(self, slot: int) -> tuple[int, int]:
        """First and last receipt of those that have run and may not be settled; (0, 0) if there are none. A process
        that dies between two bodies may have died of one of these."""
        first, last = _UNSETTLED.unpack_from(self._memory, slot * self._stride + _SUPERVISOR - _UNSETTLED.size)
        return first, last

    def turns(self, slot: int) -> int:
        """Turns made: answers of the broker that the runner has had."""
        return int(_TURNS.unpack_from(self._memory, slot * self._stride)[0])

    def allow(self, slot: int, until: float) -> None:
        """The lease is good until then (monotonic seconds): later the runner starts nothing new."""
        struct.pack_into("<d", self._memory, slot * self._stride + _SUPERVISOR, until)

    def withdraw(self, slot: int, low: int, high: int) -> None:
        """Receipts above `low` and up to `high` are not the runner's any more; it must not start them."""
        struct.pack_into("<QQ", self._memory, slot * self._stride + _SUPERVISOR + 8, low, high)

    def withdrawn(self, slot: int) -> tuple[int, int]:
        """(low, high) as it was withdrawn last."""
        _, low, high = _LEAVE.unpack_from(self._memory, slot * self._stride + _SUPERVISOR)
        return low, high

    def end(self, slot: int, receipt: int, signal: int) -> None:
        """The run of `receipt` is to end by `signal`, which is sent next: so the runner knows whom it is meant for."""
        _ENDING.pack_into(self._memory, slot * self._stride + _SUPERVISOR + _LEAVE.size, receipt, signal)


class Desk:
    """One lane of one runner as that runner sees it. `start` and `leave` are on the hot path: well under 1 us each."""

    __slots__ = ("_base", "_lane", "_leave", "_memory", "_ran", "_turns")

    def __init__(self, memory: mmap.mmap, base: int, lane: int) -> None:
        self._memory = memory
        self._base = base
        self._leave = base + _SUPERVISOR
        self._lane = base + _LANES + lane * _LANE.size
        self._turns = 0
        self._ran = 0

    def start(self, receipt: int, now: float, soft: float = 0.0, hard: float = 0.0) -> None:
        """`receipt` runs in this lane from `now` on, until `soft` and `hard` at most; 0 when nothing does."""
        _LANE.pack_into(self._memory, self._lane, receipt, now, soft, hard)

    def running(self) -> int:
        """The receipt that runs in this lane; 0: none."""
        return int(_RECEIPT.unpack_from(self._memory, self._lane)[0])

    def warned(self) -> None:
        """The soft limit of what runs in this lane has been told to it."""
        _SOFT.pack_into(self._memory, self._lane + _RECEIPT.size + _SOFT.size, 0.0)

    def last(self, receipt: int, now: float) -> None:
        """Where there are many lanes: what was started last in any of them; 0 once nothing runs."""
        _LAST.pack_into(self._memory, self._base + _TURNS.size, receipt, now)

    def limited(self, until: float) -> None:
        """Where there are many lanes: the soonest hard deadline of what runs in any of them; 0.0: there is none."""
        _LIMITED.pack_into(self._memory, self._base + _LIMITED_AT, until)

    def ran(self, tasks: int, mean: float) -> None:
        """So many tasks more have ended; `mean` seconds each, by a running mean."""
        self._ran += tasks
        _RAN.pack_into(self._memory, self._base + _TURNS.size + _LAST.size, self._ran, mean)

    def unsettled(self, first: int, last: int) -> None:
        """No body runs now; those from `first` to `last` have run and are still to be settled."""
        _UNSETTLED.pack_into(self._memory, self._base + _SUPERVISOR - _UNSETTLED.size, first, last)

    def turn(self) -> None:
        """One more answer of the broker: the sign of life that the watchdog reads."""
        self._turns += 1
        _TURNS.pack_into(self._memory, self._base, self._turns)

    def leave(self) -> tuple[float, int, int]:
        """(start nothing after, low, high): receipts in (low, high] were given back."""
        until, low, high = _LEAVE.unpack_from(self._memory, self._leave)
        return until, low, high

    def ending(self) -> tuple[int, int]:
        """(receipt, signal) of the run that the supervisor wants ended; (0, 0) if none."""
        receipt, number = _ENDING.unpack_from(self._memory, self._leave + _LEAVE.size)
        return receipt, number


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
