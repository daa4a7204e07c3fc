"""One runner's hold on the broker: a turn in flight, and its way back after a lost connection.

It moves no message and decides nothing about one; that is `turn.lua`'s and the worker's business.

**Coming back.** A call stays in `_calls` until it is answered. After a lost connection all of them are sent again, each
under its old number: the server keeps the number of each sender's last call beside the receipts, in the same step, so
it knows a call that it has done and does nothing twice - nor does it refuse what it has itself settled. What it had
reserved in the answer that was lost stands in the in-flight hash under receipts higher than any that was seen: those
become deliveries of the next answer. What was given back meanwhile is simply not there any more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from ...drivers.redis import Command, Link, Pool, ReplyError, Word
from ...drivers.redis_script import is_missing
from ...errors import BrokerError, FencedError, OperationalError
from ..base import Delivery, Outgoing, Settlement, Shelf, Turn
from ..bounds import Bounds
from ..deleted import Deleted
from .calls import MOST_ITEMS, Answer, Call, Results, Writer, read
from .layout import Layout, read_record
from .scripts import TURN

_NOWHERE = Results()
#: Seconds after which an answer is asked for "at once".
_JUST = 0.0001


class RedisConsumer:
    """`brokers.base.Consumer`. Belongs to one thread at a time; several may share one name (a flusher, a runner)."""

    def __init__(
        self,
        name: str,
        queues: Sequence[str],
        *,
        pool: Pool,
        layout: Layout,
        results: Callable[[], Results],
        follow_up: Callable[[Outgoing], tuple[str, bytes]],
        timeout: float,
        bounds: Bounds,
        deleted: Deleted,
    ) -> None:
        """`results` is asked before each call, and gives the same object until it changes.

        `timeout` is in seconds, for connecting and for each answer.
        """
        self.name = name
        self._queues = _order(queues, layout.strategy)
        self._pool = pool
        self._layout = layout
        self._results = results
        self._timeout = timeout
        self._rotates = layout.strategy == "round_robin" and len(self._queues) > 1
        keys = [layout.keys(queue) for queue in self._queues]
        self._writer = Writer(keys, follow_up, bounds)
        self._deleted = deleted
        self._inflight = [key.inflight(name) for key in keys]
        self._keys = [layout.consumer(name)]
        for key in keys:
            self._keys += (key.ready, key.leases, key.inflight(name), key.base)
        self._keys.append(layout.revision)
        #: Tells the server whose call numbers these are.
        self._sender = os.urandom(6).hex()
        self._number = 0
        self._sent_at = 0.0
        #: The highest receipt seen.
        self._highest = 0
        #: The delivery that runs alone: nothing is reserved beside it while it is held.
        self._alone: Delivery | None = None
        self._start = 1
        self._link: Link | None = None
        self._located: Results | None = None
        self._head: tuple[Word, ...] = ()
        self._tail: tuple[Word, ...] = ()
        #: Sent, or meant to be, and not answered.
        self._calls: list[Call] = []
        #: Answered on the way back, still to be handed out.
        self._found: list[Answer] = []
        #: One of several calls was refused and all were dropped: another may have reserved something.
        self._dropped = False

    # -- the port -------------------------------------------------------------------------------------------

    def send(
        self,
        settlements: Sequence[Settlement],
        limit: int,
        *,
        max_bytes: int = 0,
        shelf: Shelf = Shelf.READY,
    ) -> None:
        """See `Consumer.send`. From here on the settlements are this object's to bring home, whatever it raises."""
        if self._calls:
            settlements = self._without_pending(settlements)
        link = self._link
        if self._results() is not self._located:
            self._prepare()
        try:
            added = self._writer.parts(settlements, self._located or _NOWHERE)
        except ValueError as error:
            raise BrokerError(f"a settlement cannot be written: {error}") from error
        for call in added:
            self._number += 1
            call.number = self._number
        last = added[-1]
        last.limit, last.max_bytes, last.shelf = min(limit, MOST_ITEMS), max_bytes, int(shelf)
        last.start = self._start
        unanswered = bool(self._calls)
        self._calls += added
        if link is None or link.closed or unanswered:
            self._resume()
        else:
            self._transmit(link, added)

    def receive(self) -> Turn:
        """See `Consumer.receive`."""
        if not self._calls:
            raise RuntimeError("receive() without send()")
        link = self._link
        if link is None or link.closed:
            link = self._resume()
        answers = self._found + self._answers(link, self._calls)
        self._calls, self._found = [], []
        return self._merged(answers)

    def close(self) -> None:
        """See `Consumer.close`."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    # -- sending --------------------------------------------------------------------------------------------

    def _without_pending(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """A caller that could not know whether its settlements went out may hand them in again."""
        pending = [settlement for call in self._calls for settlement in call.settlements]
        receipts = {settlement.delivery.receipt for settlement in pending if settlement.delivery is not None}
        return [
            settlement
            for settlement in settlements
            if not any(settlement is other for other in pending)
            and (settlement.delivery is None or settlement.delivery.receipt not in receipts)
        ]

    def _prepare(self) -> None:
        """What stays the same in every call."""
        results = self._located = self._results()
        self._head = ("EVALSHA", TURN.sha, len(self._keys), *self._keys, self.name, self._sender)
        self._tail = (
            self._layout.separator,
            self._pool.address.db,
            results.db,
            results.prefix,
        )

    def _transmit(self, link: Link, calls: Sequence[Call]) -> None:
        try:
            link.send(*[self._command(call) for call in calls], deadline=monotonic() + self._timeout)
        except UnicodeError as error:  # half a character in an id, say; nothing has left
            self._calls, self._dropped = [], len(self._calls) > 1
            raise BrokerError(f"a settlement cannot be written: {error}") from error
        self._sent_at = monotonic()

    def _command(self, call: Call) -> Command:
        alone = self._alone
        steps = self._layout.steps
        return (
            *self._head,
            call.number,
            self._highest,
            call.limit,
            call.max_bytes,
            call.shelf,
            call.start,
            *self._tail,
            0 if alone is None else alone.receipt,
            0 if alone is None else self._writer.index(alone.queue),
            len(steps),
            *steps,
            call.plain_count,
            *call.plain,
            call.others_count,
            *call.others,
        )

    # -- answers --------------------------------------------------------------------------------------------

    def _answers(self, link: Link, calls: Sequence[Call]) -> list[Answer]:
        """The answers of the calls in flight, and what answers before had lost.

        Raises: OperationalError (the calls stay, to be sent again), FencedError, BrokerError (they are dropped).
        """
        if monotonic() - self._sent_at < _JUST:
            link.stay_awake()  # nothing was done meanwhile: somebody waits for this very message
        replies = link.read(len(calls), monotonic() + self._timeout)
        if any(map(is_missing, replies)):
            replies = self._again(link, calls, replies)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise self._failure(link, reply)
        answers = [read(reply, self._queues) for reply in replies]
        if self._dropped or any(answer.repeated for answer in answers):
            answers.append(self._adopted(link, answers))
            self._dropped = False
        # Only now, with everything here: what is noted as seen is never looked for again.
        for answer in answers:
            self._note(answer)
        return answers

    def _again(self, link: Link, calls: Sequence[Call], replies: list[Any]) -> list[Any]:
        """The server forgot the script: nothing ran of those calls, and their order is kept."""
        deadline = monotonic() + self._timeout
        missing = [at for at, reply in enumerate(replies) if is_missing(reply)]
        link.send(TURN.load, *[self._command(calls[at]) for at in missing], deadline=deadline)
        anew = link.read(1 + len(missing), deadline)
        link.check(anew[0])
        for at, reply in zip(missing, anew[1:], strict=True):
            replies[at] = reply
        return replies

    def _failure(self, link: Link, reply: Exception) -> Exception:
        error = link.error(reply)
        if isinstance(error, OperationalError):
            # Refused for the time being and nothing done: the call goes out again with the next connection.
            link.close()
            return error
        self._dropped = len(self._calls) > 1
        self._calls, self._found = [], []
        if isinstance(error, FencedError):
            return FencedError(f"the lease of {self.name} is gone")
        return error

    def _note(self, answer: Answer) -> None:
        deliveries = answer.turn.deliveries
        if answer.gone:
            self._deleted.note(answer.gone)
        if not deliveries:
            return
        last = deliveries[-1]
        self._highest = max(self._highest, last.receipt)
        if last.shelf is not Shelf.READY:
            self._alone = last
        else:
            self._alone = None
        if self._rotates and answer.last:
            self._start = answer.last % len(self._queues) + 1

    def _merged(self, answers: Sequence[Answer]) -> Turn:
        turns = [answer.turn for answer in answers]
        if len(turns) == 1:
            return turns[0]
        return Turn(
            sorted((delivery for turn in turns for delivery in turn.deliveries), key=_receipt),
            tuple(receipt for turn in turns for receipt in turn.refused),
            max(turn.now for turn in turns),
            any(turn.suspects for turn in turns),
            max(turn.revision for turn in turns),
        )

    # -- coming back ----------------------------------------------------------------------------------------

    def _resume(self) -> Link:
        """Connect anew; bring calls whose answers were lost to their end, all but the last, which is left in flight.

        Raises: OperationalError; then the next call tries again.
        """
        self.close()
        link = self._link = self._pool.connect(self._timeout)
        deadline = monotonic() + self._timeout
        link.send(TURN.load, deadline=deadline)
        link.check(link.read(1, deadline)[0])
        *lost, last = self._calls
        if lost:
            for call in lost:
                # Only the last call says how much is wanted now.
                call.limit = 0
            self._transmit(link, lost)
            self._found += self._answers(link, lost)
            self._calls = [last]
            last.limit = max(0, last.limit - sum(len(answer.turn.deliveries) for answer in self._found))
        self._transmit(link, [last])
        return link

    def _adopted(self, link: Link, answers: Sequence[Answer]) -> Answer:
        """Deliveries of an answer that was lost: in our record, never seen, and not in `answers` either."""
        seen = {delivery.receipt for answer in answers for delivery in answer.turn.deliveries}
        deadline = monotonic() + self._timeout
        link.send(*[("HGETALL", key) for key in self._inflight], ("TIME",), deadline=deadline)
        *held, time = [link.check(reply) for reply in link.read(len(self._inflight) + 1, deadline)]
        deliveries: list[Delivery] = []
        for queue, records in zip(self._queues, held, strict=True):
            for receipt, record in pairs(records):
                delivery = read_record(queue, int(receipt), record)
                # What was recovered from others is known to whoever recovered it.
                if delivery.receipt > self._highest and delivery.receipt not in seen and not delivery.was:
                    deliveries.append(delivery)
        deliveries.sort(key=_receipt)
        return Answer(Turn(deliveries, (), int(time[0]) + int(time[1]) / 1e6), False, 0)


def pairs(answer: Mapping[bytes, bytes] | Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Fields and values of a hash: a map in RESP3, a flat list in RESP2."""
    if isinstance(answer, Mapping):
        return list(answer.items())
    return list(zip(answer[::2], answer[1::2], strict=True))


def _order(queues: Sequence[str], strategy: str) -> list[str]:
    unique = list(dict.fromkeys(queues))
    return sorted(unique) if strategy == "sorted" else unique


def _receipt(delivery: Delivery) -> int:
    return delivery.receipt
