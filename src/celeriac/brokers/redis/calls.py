"""One turn of a consumer as words for `turn.lua`, and its answer as deliveries. Pure: sends nothing.

The order of words is that of the header of `turn.lua`. This is the hot path: per task it costs about 1 us each way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

from msgspec import Struct, structs

from ...drivers.redis import Word
from ...wire import part
from ..base import Delivery, Member, Outgoing, Settlement, Shelf, Turn, Verdict
from ..bounds import Bounds
from .layout import Keys
from .letters import dead_word

_DONE = Verdict.DONE
#: Bounds of one call: Redis serves nobody else meanwhile.
MOST_ITEMS = 1000
MOST_BYTES = 1 << 20


class Results(Struct, frozen=True):
    """Where results and members of chords go in the same step; no database: nowhere."""

    db: str = ""
    prefix: str = ""
    #: What the keys of groups begin with.
    groups: str = ""
    #: See `result_chord_ordered`.
    ordered: bool = True


class Call(Struct):
    """A turn on its way: kept until it is answered, so that it can be sent again as it was."""

    number: int
    settlements: Sequence[Settlement]
    #: What follows keys, consumer, sender and number.
    limit: int
    max_bytes: int
    shelf: int
    start: int
    #: The words of the settlements, in two groups, and how many there are in each.
    plain: list[Word]
    plain_count: int
    others: list[Word]
    others_count: int


class Writer:
    """Settlements -> words, for one consumer."""

    def __init__(
        self, keys: Sequence[Keys], follow_up: Callable[[Outgoing], tuple[str, bytes]], bounds: Bounds
    ) -> None:
        """`follow_up` gives the LIST and the envelope of a message to publish."""
        self._follow_up = follow_up
        self._bounds = bounds
        self._own = keys
        #: Queue -> index among the queues, from 1; the in-flight key is at four times that.
        self._index = {key.queue: index for index, key in enumerate(keys, 1)}

    def index(self, queue: str) -> int:
        try:
            return self._index[queue]
        except KeyError:
            raise ValueError(f"{queue!r} is not among the queues of this consumer") from None

    def parts(self, settlements: Sequence[Settlement], results: Results) -> list[Call]:
        """Calls (without number or limit) that settle all, each within the bounds of one call. At least one."""
        calls = [_empty()]
        size = items = first = 0
        for at, settlement in enumerate(settlements):
            added = self._size(settlement)
            if items and (items + 1 > MOST_ITEMS or size + added > MOST_BYTES):
                calls[-1].settlements = settlements[first:at]
                calls.append(_empty())
                size = items = 0
                first = at
            size += added
            items += 1 + len(settlement.follow_ups) + len(settlement.members) + len(settlement.also)
            self._add(calls[-1], settlement, results)
        calls[-1].settlements = settlements[first:]
        return calls

    @staticmethod
    def _size(settlement: Settlement) -> int:
        record = settlement.record
        size = 0 if record is None else len(record.document)
        for outgoing in settlement.follow_ups:
            size += 2 * len(outgoing.message.body)
        for member in settlement.members:
            size += len(member.document) + 2 * len(member.fire.message.body)
        for each in settlement.also:
            size += len(each.document)
        return size

    def _add(self, call: Call, settlement: Settlement, results: Results) -> None:
        delivery = settlement.delivery
        record = settlement.record if results.db else None
        if (
            delivery is not None
            and settlement.verdict is _DONE
            and not settlement.follow_ups
            and not settlement.members
            and not settlement.also
            and (record is None or record.final)
        ):
            call.plain_count += 1
            if record is None:
                call.plain += (4 * self.index(delivery.queue), delivery.receipt, "", 0, "")
            else:
                expires = record.expires
                call.plain += (
                    4 * self.index(delivery.queue),
                    delivery.receipt,
                    record.task_id,
                    0 if not expires else int(expires * 1000),
                    record.document,
                )
            return
        call.others_count += 1
        words = call.others
        words += (
            0 if delivery is None else self.index(delivery.queue),
            0 if delivery is None else delivery.receipt,
            int(settlement.verdict),
        )
        if record is None:
            words += ("", 0, "", 0)
        else:
            words += (record.task_id, int((record.expires or 0) * 1000), record.document, int(record.final))
        words += (
            int(settlement.shelf),
            settlement.strikes,
            # Rounded up: never before its time.
            ceil(settlement.due * 1000),
            dead_word(settlement, self._bounds) if settlement.verdict is Verdict.DEAD else "",
            len(settlement.follow_ups),
        )
        also, members = (settlement.also, settlement.members) if results.db else ((), ())
        words += (len(also), len(members))
        for outgoing in settlement.follow_ups:
            words += self._follow_up(outgoing)
        for each in also:
            words += (each.task_id, int((each.expires or 0) * 1000), each.document, int(each.final))
        for member in members:
            words += self._member(member, delivery, results)

    def _member(self, member: Member, delivery: Delivery | None, results: Results) -> tuple[Word, ...]:
        # What calls the body goes to a queue that one of ours certainly reads; the body goes to its own from there.
        queue = self._own[0] if delivery is None else self._own[self.index(delivery.queue) - 1]
        _, payload = self._follow_up(structs.replace(member.fire, queue=queue.queue))
        encoded = part.from_document(member.task_id, member.document)
        group = results.groups + member.group_id
        return group, member.task_id, member.index, encoded, queue.own, payload, int(results.ordered)


def _empty() -> Call:
    return Call(0, (), 0, 0, 0, 1, [], 0, [], 0)


class Answer(Struct):
    """What one call brought."""

    turn: Turn
    #: The server had done this call before: its deliveries were in the answer that was lost.
    repeated: bool
    #: Index of the queue (from 1) that was served last; 0: none.
    last: int
    #: Older dead letters that had to go.
    gone: int = 0


def read(answer: list[Any], queues: Sequence[str]) -> Answer:
    """The answer of `turn.lua`."""
    flags: int = answer[2]
    deliveries: list[Delivery] = []
    last = 0
    for group in answer[5:]:
        last = group[0]
        queue, shelf = queues[last - 1], group[1]
        if shelf:
            deliveries.append(Delivery(queue, group[3], group[4], group[2], Shelf(shelf)))
        else:
            deliveries += [Delivery(queue, receipt, payload) for receipt, payload in enumerate(group[4:], group[3])]
    now = int(answer[0]) + int(answer[1]) / 1e6
    return Answer(
        Turn(deliveries, tuple(answer[3]), now, bool(flags & 1), int(answer[4])), bool(flags & 2), last, flags >> 2
    )
