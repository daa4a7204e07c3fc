"""The roster: which lanes of a runner are free and what runs in the others, and the same on the board.

`begin` says on the board that work runs, then looks whether it was withdrawn; the supervisor withdraws, then looks what
runs: one of both sees the other, and nothing is given back that starts here. It waits for nothing, and runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from ...execution.admission import Admitted
from ..supervisor.board import PENDING, Desk

#: A lane, and what is to run in it.
Place = tuple[int, Admitted]
#: Soft and hard limit of a run, in seconds; 0.0: none.
Limits = Callable[[Admitted], tuple[float, float]]


def limits_of(work: Admitted) -> tuple[float, float]:
    """As the message, its task or the settings say."""
    limits = work.limits
    return (0.0, 0.0) if limits is None else (limits.soft, limits.hard)


class Begun(Struct, frozen=True):
    """What may run now, and what may perhaps `later`: the answer is being found out. The rest was given back."""

    places: list[Place]
    later: list[Admitted] = []
    #: More was given back than was known before. It must be dropped now: once something later runs, and what is behind
    #: that goes back, the board tells of that alone.
    news: bool = False


class Roster:
    """`desks`, one a lane."""

    def __init__(self, desks: Sequence[Desk], limits: Limits | None = None) -> None:
        self._desks = desks
        self._limits = limits
        #: The lowest first: as few threads as are needed at the same time are ever started.
        self._free = list(range(len(desks) - 1, -1, -1))
        #: How many lanes are to be used.
        self.most = len(desks)
        self._last = 0
        #: First and last receipt of those that have run and may not be settled.
        self._first_ran = self._last_ran = 0
        #: What was given back last: receipts above the first and up to the second.
        self._back = (0, 0)
        self.running: dict[int, Admitted] = {}

    @property
    def free(self) -> int:
        return max(0, min(len(self._free), self.most - len(self.running)))

    def turn(self) -> None:
        """The broker has answered."""
        self._desks[0].turn()

    def ran(self, tasks: int, mean: float) -> None:
        """So many more have ended, `mean` seconds each by a running mean."""
        self._desks[0].ran(tasks, mean)

    def begin(self, works: Sequence[Admitted], now: float) -> Begun:
        """Begin with these, no more than are `free`: each that is still ours runs from now on."""
        desks, last = self._desks, self._last
        places = [(self._free.pop(), work) for work in works]
        for lane, work in places:
            self._show(lane, work, now)
            last = max(last, work.delivery.receipt)
        desks[0].last(last, now)
        until, low, high = desks[0].leave()
        if high == PENDING or now > until:
            for lane, _ in places:
                self._leave(lane, now)
            desks[0].last(self._last if self.running else 0, now)
            gone = 0 if high == PENDING else high
            return Begun([], [work for work in works if not low < work.delivery.receipt <= gone])
        kept = []
        for lane, work in places:
            if low < work.delivery.receipt <= high:
                self._leave(lane, now)
            else:
                self.running[lane] = work
                kept.append((lane, work))
                self._last = max(self._last, work.delivery.receipt)
        if len(kept) < len(places):
            desks[0].last(self._last if self.running else 0, now)
        news, self._back = self._back != (low, high), (low, high)
        return Begun(kept, news=news)

    def end(self, lane: int, now: float) -> None:
        """What ran there is over."""
        receipt = self.running.pop(lane).delivery.receipt
        self._first_ran = min(self._first_ran or receipt, receipt)
        self._last_ran = max(self._last_ran, receipt)
        self._desks[0].unsettled(self._first_ran, self._last_ran)
        self._leave(lane, now)
        if not self.running:
            self._desks[0].last(0, now)

    def settled(self) -> None:
        """All that has ended is."""
        self._first_ran = self._last_ran = 0
        self._desks[0].unsettled(0, 0)

    def withdrawn(self, work: Admitted) -> bool:
        """Whether it was given back, as far as is known."""
        _, low, high = self._desks[0].leave()
        return low < work.delivery.receipt <= high

    def went_back(self, work: Admitted) -> bool:
        """The same, as `begin` saw it last: not what is being found out at this moment."""
        low, high = self._back
        return low < work.delivery.receipt <= high

    def acknowledged(self, places: Sequence[Place], now: float) -> None:
        """These had begun, and run only from here on: so do their limits."""
        for lane, work in places:
            self._show(lane, work, now)

    def _show(self, lane: int, work: Admitted, now: float) -> None:
        if self._limits is None or work.early:
            self._desks[lane].start(work.delivery.receipt, now)
        else:
            soft, hard = self._limits(work)
            self._desks[lane].start(work.delivery.receipt, now, soft and now + soft, hard and now + hard)

    def _leave(self, lane: int, now: float) -> None:
        self._desks[lane].start(0, now)
        self._free.append(lane)
