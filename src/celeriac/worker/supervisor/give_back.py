"""Give-back: what waits behind a long task returns to its queue. Board and broker are told in the order that leaves no
moment in which two may start the same message."""

from __future__ import annotations

from typing import Protocol

from .board import PENDING, Board

#: A task that runs for longer (seconds) gives back what waits behind it.
LONG = 0.5


class Orders(Protocol):
    """What `Upkeep` offers."""

    def give_back(self, slot: int, consumer: str, low: int) -> None: ...


class GiveBack:
    """Looks at slots; once for each long run, or at once on shutdown."""

    def __init__(self, board: Board, orders: Orders) -> None:
        self._board = board
        self._orders = orders
        self._done: dict[int, int] = {}

    def forget(self, slot: int) -> None:
        """Another runner takes the slot."""
        self._done.pop(slot, None)

    def behind(self, slot: int, consumer: str, receipt: int) -> None:
        """Whatever the runner holds behind the running `receipt` is not to start there."""
        if self._done.get(slot) == receipt:
            return
        low, high = self._board.withdrawn(slot)
        if low < receipt <= high:
            return  # it went back itself, or may be about to: it is shown for a moment only, and does not start
        self._done[slot] = receipt
        self._board.withdraw(slot, receipt, PENDING)
        if self._board.last(slot)[0] != receipt:
            self._board.withdraw(slot, low, high)  # it has just gone on: what it holds now is its own, but for those
            return
        self._orders.give_back(slot, consumer, receipt)
