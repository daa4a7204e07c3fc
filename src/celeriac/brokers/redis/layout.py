"""The names of the keys, and the form of what stands in them. Pure: knows no connection.

Kombu's, shared with stock peers (pushed at the left, taken from the right):

    <queue>                     LIST  messages of priority 0
    <queue>\\x06\\x16<step>       LIST  messages of the other priority steps
    _kombu.binding.<exchange>   SET   routing key, pattern, queue, joined by \\x06\\x16
    _kombu.binding_permanent.…  SET   the same (kombu 5.7: what its sweep must leave alone)

Ours, version 1, with `{queue}` as hash tag, so that a queue's keys share the slot of its LIST:

    celeriac:layout                    STRING  newest major version that has written here
    celeriac:1:consumer:<consumer>     HASH    `issued`: highest receipt; for each sender its last call's number
    celeriac:1:revoked                 HASH    name -> revocation, see `brokers/revocation.py`
    celeriac:1:revoked:index           ZSET    name, by its revision
    celeriac:1:revoked:revision        STRING  the newest revision
    celeriac:1:{q}:leases              HASH    consumer -> counter
    celeriac:1:{q}:inflight:<consumer> HASH    receipt -> record
    celeriac:1:{q}:delayed             ZSET    sequence + record, by due time in milliseconds
    celeriac:1:{q}:own                 LIST    messages for our workers only, taken before the ready ones
    celeriac:1:{q}:suspects            LIST    records
    celeriac:1:{q}:quarantine          LIST    records
    celeriac:1:{q}:sequence            STRING  counter for delayed messages and dead letters
    celeriac:1:{q}:dead                HASH    id -> facts (JSON), line feed, past, line feed, record
    celeriac:1:{q}:dead:index          ZSET    id, by the time it was set aside in milliseconds
    celeriac:1:{q}:dead:again          ZSET    id, by the time at which upkeep sends it again
    celeriac:1:{q}:dead:past           HASH    name -> past, of what was dead and is in its queue again
    celeriac:1:{q}:dead:past:index     ZSET    name, by the time at which it was sent again

Revocations hold for all queues, so theirs are in no queue's slot: on Redis Cluster, which is not served yet, a turn
could not read the revision in its own step.

A *record* is the payload, byte for byte; where there is more to say it begins with `\\x01shelf;step;strikes;from\\n`:
shelf, priority step and strikes as decimals (after a comma, when each was: see `brokers/history.py`), and, if it was
recovered, the receipt it had had, a space, and the name of the consumer that had it.

*Own* is what calls a chord's body: a built-in task of ours, which a stock worker that shares the queue would throw
away. It waits where no stock worker looks; in a record its priority step is 99, which is no priority's.

A *past* is `requeues;history`: how often upkeep has sent it again, and what happened. Its name is the SHA1 of the
task's id (a retry has other bytes and the same id), or of the payload where there is none; in a dead letter it stands
in front.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ...errors import ImproperlyConfigured
from ..base import Delivery, Shelf

#: Major version: a newer one found on the server is refused.
VERSION = 1

_STRATEGIES = frozenset({"round_robin", "priority", "sorted"})
_HEAD = re.compile(rb"\x01(\d+);(\d+);(\d+)([^;\n]*);([^\n]*)\n")


class Keys(Struct, frozen=True):
    """The keys of one queue."""

    queue: str
    #: The LIST; other priorities append separator and step.
    ready: str
    #: What our own keys of the queue begin with.
    base: str

    @property
    def leases(self) -> str:
        return self.base + "leases"

    @property
    def own(self) -> str:
        return self.base + "own"

    def inflight(self, consumer: str) -> str:
        return self.base + "inflight:" + consumer


class Layout:
    """Key names under one prefix, with one set of priority steps."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`options` are transport options by kombu's names: global_keyprefix, sep, priority_steps, queue_order_strategy

        Raises: ImproperlyConfigured.
        """
        self.prefix = str(options.get("global_keyprefix") or "")
        self.separator = str(options.get("sep") or "\x06\x16")
        self.steps = _steps(options.get("priority_steps"))
        self.strategy = str(options.get("queue_order_strategy") or "round_robin")
        if self.strategy not in _STRATEGIES:
            raise ImproperlyConfigured(
                f"queue_order_strategy is {self.strategy!r}; it must be one of {', '.join(sorted(_STRATEGIES))}"
            )
        self.version_key = f"{self.prefix}celeriac:layout"
        self.revoked = f"{self.prefix}celeriac:{VERSION}:revoked"
        self.revision = f"{self.revoked}:revision"
        self._keys: dict[str, Keys] = {}

    def keys(self, queue: str) -> Keys:
        found = self._keys.get(queue)
        if found is None:
            ready = self.prefix + queue
            # A `}` would end the hash tag early, and could make one queue's key another's.
            tag = ready.replace("%", "%25").replace("}", "%7D")
            found = self._keys[queue] = Keys(queue, ready, f"{self.prefix}celeriac:{VERSION}:{{{tag}}}:")
        return found

    def consumer(self, name: str) -> str:
        return f"{self.prefix}celeriac:{VERSION}:consumer:{name}"

    def ready(self, queue: str, priority: int | None) -> str:
        """The LIST that a message of this priority is pushed to; kombu's rule, and none means 0."""
        key = self.keys(queue).ready
        if not priority:
            return key
        step = self.steps[bisect(self.steps, min(max(priority, 0), 9)) - 1]
        return f"{key}{self.separator}{step}" if step else key

    def ready_all(self, queue: str) -> list[str]:
        """Every LIST of the queue, the first to be taken from first."""
        key = self.keys(queue).ready
        return [f"{key}{self.separator}{step}" if step else key for step in self.steps]

    def binding(self, queue: str) -> tuple[str, str, str]:
        """Two keys and the member by which kombu finds the queue behind the exchange of the same name."""
        member = self.separator.join((queue, "", queue))
        return f"{self.prefix}_kombu.binding.{queue}", f"{self.prefix}_kombu.binding_permanent.{queue}", member


def read_record(queue: str, receipt: int, record: bytes) -> Delivery:
    """The delivery in an in-flight record."""
    match = _HEAD.match(record)
    if match is None:
        return Delivery(queue, receipt, record)
    shelf, _, strikes, _, origin = match.groups()
    was, _, of = origin.partition(b" ")
    payload = record[match.end() :]
    return Delivery(queue, receipt, payload, int(strikes), Shelf(int(shelf)), int(was or 0), of.decode())


def payload_of(record: bytes) -> bytes:
    match = _HEAD.match(record)
    return record if match is None else record[match.end() :]


def strikes_of(record: bytes) -> int:
    match = _HEAD.match(record)
    return 0 if match is None else int(match[3])


def history_of(record: bytes) -> str:
    """When it got its strikes."""
    match = _HEAD.match(record)
    return "" if match is None else match[4].decode().lstrip(",")


def _steps(given: Sequence[Any] | None) -> list[int]:
    try:
        steps = sorted({int(step) for step in (given or (0, 3, 6, 9))})
    except (TypeError, ValueError):
        steps = []
    if not steps or steps[0] < 0:
        raise ImproperlyConfigured(f"priority_steps is {given!r}; it must be a list of numbers such as [0, 3, 6, 9]")
    return steps
