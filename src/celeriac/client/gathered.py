"""`Gathered`: the messages of one canvas on their way, in batches. It sends nothing by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..brokers.base import Outgoing

if TYPE_CHECKING:
    from .announcing import Draft

    #: (messages, what receivers of signals are told of them, how many were sent before, how to publish)
    Flush = Callable[[list[Outgoing], Sequence[Draft], int, Mapping[str, Any]], None]


class Gathered:
    """Belongs to one thread. `largest` is asked for at the first message: the broker connects then."""

    def __init__(self, owner: object, flush: Flush, largest: Callable[[], int], *, hold: bool) -> None:
        #: The publisher: what others publish is no part of it.
        self.owner = owner
        self.messages: list[Outgoing] = []
        #: Of the last call, and so of all: members of a canvas are sent alike.
        self.how: Mapping[str, Any] = {}
        self._drafts: list[Draft] = []
        self._flush = flush
        self._largest = largest
        self._hold = hold
        self._sent = 0

    def add(self, messages: Sequence[Outgoing], drafts: Sequence[Draft] = ()) -> None:
        """One message or several; a full batch is sent."""
        self.messages.extend(messages)
        self._drafts.extend(drafts)
        if not self._hold and len(self.messages) >= self._largest():
            self.flush()

    def flush(self) -> None:
        """Send what there is. Raises: OperationalError."""
        messages, drafts = self.messages, self._drafts
        self.messages, self._drafts = [], []
        if messages:
            self._flush(messages, drafts, self._sent, self.how)
            self._sent += len(messages)
