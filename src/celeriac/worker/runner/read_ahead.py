"""How many messages to reserve at once. Pure: it is told run times and answers numbers.

Tiny tasks travel in big batches, long ones alone: what is reserved ahead should be worth a few milliseconds of work, so
that nothing waits behind a task here while another runner is idle.
"""

from __future__ import annotations

#: Seconds of work worth having at hand.
WORTH = 0.005
#: A body expected to take longer than this many seconds is not kept waiting for: outcomes are sent before it starts.
SURPRISE = 0.001
#: Weight of the newest run time in the running mean.
_NEWEST = 0.2


class ReadAhead:
    """Learns run times; `limit()` is what to reserve next."""

    __slots__ = ("_by_task", "_most", "_ramp", "_reserved", "mean")

    def __init__(self, most: int, reserved: int = 0) -> None:
        """At most `most` a call, and `reserved` in all, what runs included (0: no such bound)."""
        self._most = most
        self._reserved = reserved
        #: Seconds that a task takes, by a running mean.
        self.mean = WORTH  # unknown: one at a time
        self._ramp = 1
        self._by_task: dict[str, float] = {}

    def limit(self, held: int = 0) -> int:
        """Messages to reserve in the next call beside the `held` ones; it at most doubles from call to call."""
        fits = int(WORTH / self.mean) if self.mean > 0 else self._most
        self._ramp = max(1, min(fits, self._ramp * 2, self._most))
        return self.allow(self._ramp, held) if self._reserved else self._ramp

    def allow(self, wanted: int, in_hand: int) -> int:
        """How many of the `wanted` messages may be reserved where so many are in hand."""
        return max(0, min(wanted, self._reserved - in_hand)) if self._reserved else wanted

    def beyond(self, lanes: int) -> int:
        """Messages worth holding beyond those that run in so many lanes: none where tasks are long."""
        if self.mean >= WORTH:
            return 0
        return min(self._most, int(lanes * WORTH / self.mean) if self.mean > 0 else self._most)

    def is_brief(self, held: int) -> bool:
        """Whether what is held will be done so soon that the next call may go out beside it."""
        return self.mean * held < WORTH and self.allow(1, held) > 0

    def is_long(self, task: str) -> bool:
        """A body of this task may take longer than what is finished should wait. The unknown counts as long."""
        return self._by_task.get(task, SURPRISE) >= SURPRISE

    def passed(self) -> None:
        """A message came that is not to run: it cost next to nothing."""
        self.mean *= 1 - _NEWEST

    def learn(self, task: str, seconds: float) -> None:
        """A body of this task ran for so long."""
        self.mean += _NEWEST * (seconds - self.mean)
        known = self._by_task.get(task)
        self._by_task[task] = seconds if known is None else known + _NEWEST * (seconds - known)
