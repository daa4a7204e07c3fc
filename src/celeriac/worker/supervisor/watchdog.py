"""The watchdog: a runner that neither runs a task nor makes a turn, though the broker is there, has lost its way (R7).

Pure: it is shown turns and the time. An idle runner looks at its queues every few seconds, so turns always grow.
"""

from __future__ import annotations

#: Seconds without a turn after which a runner is replaced. An idle one turns every 10 s, a call takes 5 s at most.
STUCK = 30.0
#: A look that comes so late (seconds) tells of a node that was frozen, not of runners that were stuck.
_FROZEN = 5.0


class Watchdog:
    """`look` at each runner regularly; `excuse` all when there is a reason not to turn."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}
        self._looked = 0.0

    def forget(self, slot: int) -> None:
        self._seen.pop(slot, None)

    def excuse(self) -> None:
        """The broker is away, say: begin anew."""
        self._seen.clear()

    def begin(self, now: float) -> None:
        """A round of looks begins."""
        if now - self._looked > _FROZEN:
            self.excuse()
        self._looked = now

    def look(self, slot: int, running: int, turns: int, now: float) -> bool:
        """Whether the runner is stuck."""
        known = self._seen.get(slot)
        if running or known is None or known[0] != turns:
            self._seen[slot] = (turns, now)
            return False
        return now - known[1] > STUCK
