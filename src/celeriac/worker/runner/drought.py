"""Suspects are reserved by a runner that holds nothing else. One of many lanes holds nothing only if it stops reserving
for a while: how long it tries, and how often, so that neither a suspect nor ordinary work waits for ever. Pure."""

from __future__ import annotations

#: Seconds of the first try; each further one is twice as long.
_PATIENCE = 1.0
#: So many times a try's length pass until the next.
_REST = 9.0


class Drought:
    """`seen` with each answer of the broker; `active` while nothing is to be reserved."""

    def __init__(self) -> None:
        self._patience = _PATIENCE
        self._until = 0.0
        self._not_before = 0.0
        self.active = False

    def seen(self, suspects: bool, now: float) -> None:
        """Whether suspects wait that could not be given to us because of what we hold."""
        if not suspects:
            self.active, self._patience = False, _PATIENCE
        elif not self.active and now >= self._not_before:
            self.active, self._until = True, now + self._patience

    def left(self, now: float) -> float:
        """Seconds that it lasts still; 0.0 when it is over, or what ran meanwhile took too long."""
        if self.active and now >= self._until:
            self.active = False
            self._not_before = now + _REST * self._patience
            self._patience *= 2
        return max(0.0, self._until - now) if self.active else 0.0
