"""Group commit: what many threads publish while a round trip is under way travels together in the next one.

One thread at a time, the leader, speaks to the broker; whoever comes meanwhile leaves its messages and waits. When the
leader's trip ends it hands the lead, and everything that has gathered, to the first in line. A single thread never
waits and pays two uncontended lock operations. No thread of its own, no timer, no retry: see `publisher`.
"""

from __future__ import annotations

import copy
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from time import monotonic

from ..brokers.base import Outgoing
from ..errors import OperationalError, QueueFull

#: Sends messages to the broker in one round trip, by an instant of the monotonic clock.
Send = Callable[[Sequence[Outgoing], float], None]

_INTERRUPTED = "publishing was interrupted; the message may have been accepted"


class _Ticket:
    """One caller's messages, waiting for the next trip. All fields but `turn` belong to the lock of the commit."""

    __slots__ = ("done", "error", "leads", "messages", "turn")

    def __init__(self, messages: Sequence[Outgoing]) -> None:
        self.messages = messages
        #: Released when there is news: `done`, or `leads`.
        self.turn = threading.Lock()
        self.turn.acquire()
        self.leads = False
        self.done = False
        self.error: BaseException | None = None


class GroupCommit:
    """Shared by all threads of a process; made anew by itself in a forked child."""

    def __init__(self, send: Send, largest: int = 1000) -> None:
        self._send = send
        self._largest = max(1, largest)
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._busy = False
        self._line: list[_Ticket] = []

    def publish(self, messages: Sequence[Outgoing], deadline: float) -> None:
        """Returns when the broker has them all. `deadline` is an instant of the monotonic clock.

        Raises: whatever the trip raised that the messages were on; OperationalError at the deadline, with `unsent`
        true where the messages were still waiting in line.
        """
        ticket: _Ticket | None = None
        alone = False
        try:
            with self._lock:
                if self._busy:
                    ticket = _Ticket(messages)
                    self._line.append(ticket)
                else:
                    alone = self._busy = True
            if ticket is None:
                self._send(messages, deadline)
        finally:
            if alone:
                self._hand_over()
        if ticket is not None:
            self._wait(ticket, deadline)

    def _wait(self, ticket: _Ticket, deadline: float) -> None:
        try:
            ticket.turn.acquire(timeout=max(0.0, deadline - monotonic()))
            if not ticket.done:
                if monotonic() >= deadline:
                    raise self._too_late(ticket)
                self._lead(ticket, deadline)
        except BaseException:  # a KeyboardInterrupt while waiting must not take the lead with it
            self._abandon(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error

    def _too_late(self, ticket: _Ticket) -> OperationalError:
        with self._lock:
            if ticket.leads or ticket in self._line:
                return Unsent("the broker did not take earlier messages in time; this one was not sent")
        return OperationalError("the broker did not answer in time; the message may have been accepted")

    def _abandon(self, ticket: _Ticket) -> None:
        with self._lock:
            if ticket in self._line:
                self._line.remove(ticket)
            elif ticket.leads:
                ticket.leads = False
                self._pass_lead()

    def _lead(self, mine: _Ticket, deadline: float) -> None:
        riders = self._board(mine)
        error: BaseException | None = None
        apart: dict[_Ticket, BaseException | None] = {}
        try:
            self._send([m for ticket in riders for m in ticket.messages], deadline)
        except QueueFull as raised:
            error = raised
            if len(riders) > 1:  # nothing was queued, and one caller's full queue is nobody else's
                error = OperationalError(_INTERRUPTED)  # what they learn should this end here
                apart = {ticket: self._alone(ticket, deadline) for ticket in riders}
                error = apart[mine]
        except Exception as raised:
            error = raised
        except BaseException:  # the interrupt is this thread's own; the others learn what it means for them
            error = OperationalError(_INTERRUPTED)
            raise
        finally:
            with self._lock:
                mine.leads = False
                for ticket in riders:
                    ticket.error = error if ticket is mine else _twin(apart.get(ticket, error))
                    ticket.done = True
                    if ticket is not mine:
                        ticket.turn.release()
                self._pass_lead()

    def _alone(self, ticket: _Ticket, deadline: float) -> BaseException | None:
        try:
            self._send(ticket.messages, deadline)
        except Exception as error:
            return error
        return None

    def _board(self, mine: _Ticket) -> list[_Ticket]:
        """Take from the line what fits in one trip, `mine` (already out of the line) first."""
        with self._lock:
            riders, size = [mine], len(mine.messages)
            while self._line and size + len(self._line[0].messages) <= self._largest:
                riders.append(self._line.pop(0))
                size += len(riders[-1].messages)
        return riders

    def _hand_over(self) -> None:
        with self._lock:
            self._pass_lead()

    def _pass_lead(self) -> None:
        """To the first in line, or to nobody. Called with the lock held."""
        if not self._line:
            self._busy = False
            return
        heir = self._line.pop(0)
        heir.leads = True
        heir.turn.release()


def _twin(error: BaseException | None) -> BaseException | None:
    """A copy to raise in another thread: one exception object raised by two mixes their tracebacks."""
    if error is None:
        return None
    try:
        twin = copy.copy(error)
    except Exception:  # an exception class with a constructor of its own
        return error
    twin.__cause__ = error.__cause__
    return twin


class Unsent(OperationalError):
    """The message never left this process: trying again cannot double it."""

    unsent = True


_all: weakref.WeakSet[GroupCommit] = weakref.WeakSet()


def _after_fork() -> None:
    # The thread that held the lock, or the lead, does not exist in the child.
    for commit in list(_all):
        commit._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
