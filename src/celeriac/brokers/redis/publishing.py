"""Publishing where queues have limits: one script checks and pushes, or does nothing. Elsewhere `broker.py` pushes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...drivers.redis import Command, Word
from .. import overflow
from ..base import Outgoing
from ..bounds import Bounds
from . import scripts
from .layout import Layout
from .letters import kept

Written = Callable[[Outgoing], tuple[str, bytes]]


class Bounded:
    """The messages of one call as one command, and what its answer means."""

    def __init__(self, messages: Sequence[Outgoing], bounds: Bounds, layout: Layout, written: Written) -> None:
        self._queues = list(dict.fromkeys(outgoing.queue for outgoing in messages))
        self._bounds = bounds
        self._more = overflow.adding(bounds, messages)
        number = {queue: str(index) for index, queue in enumerate(self._queues, 1)}
        self._keys = [name for key in map(layout.keys, self._queues) for name in (key.ready, key.base)]
        words: list[Word] = [layout.separator, int(bounds.drop_oldest), *kept(bounds), len(layout.steps), *layout.steps]
        for queue in self._queues:
            limit = bounds.length_of(queue)
            words += (-1, "") if limit is None else (limit, overflow.detail(limit))
        for outgoing in messages:
            words += (number[outgoing.queue], *written(outgoing))
        self._words = words

    @property
    def command(self) -> Command:
        return scripts.PUBLISH.command(self._keys, *self._words)

    @property
    def whole(self) -> Command:
        """The same for a server that does not know the script."""
        return ("EVAL", scripts.PUBLISH.text, len(self._keys), *self._keys, *self._words)

    def answered(self, answer: Sequence[int]) -> int:
        """How many older dead letters had to go. Raises: QueueFull."""
        refused, number = answer
        if not refused:
            return number
        queue = self._queues[refused - 1]
        raise overflow.full(queue, number, self._more[queue], self._bounds.length_of(queue) or 0)


def bounded(messages: Sequence[Outgoing], bounds: Bounds, layout: Layout, written: Written) -> Bounded | None:
    """None where none of their queues has a limit."""
    if not bounds.any_length or not overflow.adding(bounds, messages):
        return None
    return Bounded(messages, bounds, layout, written)
