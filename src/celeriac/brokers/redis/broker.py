"""The Redis broker: publishing, leases, upkeep and looking. What a runner does all day is in `consumer.py`.

Every change of more than one key is one script; the keys are in `layout.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from ...drivers import redis_address
from ...drivers.redis import Command, Pool, ReplyError, Word, chunks
from ...drivers.redis_script import Script, is_missing
from ...errors import BrokerError, FencedError, LayoutError, OperationalError
from ...foundation.identifiers import uuid4_text
from ...wire import envelope
from ..base import Capabilities, Counts, Delivery, Opened, Outgoing
from ..deleted import Deleted
from ..revocation import Revocation
from . import scripts
from .calls import Results
from .consumer import RedisConsumer, pairs
from .dead import DeadLetters
from .layout import VERSION, Layout, payload_of, read_record
from .letters import kept
from .publishing import bounded
from .revoked import Revoked
from .waiter import RedisWaiter

_REFUSALS = {"": BrokerError, "FENCED": FencedError}
_ALL = 1_000_000_000


class RedisBroker(DeadLetters):
    """`brokers.base.Broker` on one Redis server. Shared by threads; after a fork it connects anew by itself."""

    capabilities = Capabilities(pipelined=True)

    def __init__(self, opened: Opened) -> None:
        """Connects to nothing yet. Raises: ImproperlyConfigured.

        `opened.options` are `broker_transport_options` (kombu's names: global_keyprefix, priority_steps, sep,
        queue_order_strategy, client_name); `ssl` holds what `broker_use_ssl` says.
        """
        self._address = redis_address.parse(opened.url, opened.options)
        self._layout = Layout(opened.options)
        self._timeout = opened.connect_timeout
        self._publish_timeout = opened.publish_timeout
        self._pool = Pool(self._address, opened.connect_timeout, refusals=_REFUSALS)
        self._bounds = opened.bounds
        self._deleted = Deleted(opened.bounds)
        self._limited = opened.bounds.any_length
        self._revoked = Revoked(self._pool, self._layout, opened.bounds, opened.connect_timeout)
        self._results = Results()
        #: (dead, into) of recoveries whose answer was lost.
        self._unsure: set[tuple[str, str]] = set()

    def __repr__(self) -> str:
        return f"<RedisBroker {self._address.text}>"

    def open(self) -> None:
        """Connect, and check that no newer version has written here. Raises: OperationalError, LayoutError."""
        key = self._layout.version_key
        _, found = self._pool.run(("SET", key, VERSION, "NX"), ("GET", key), timeout=self._timeout)
        newest = int(found) if found.isdigit() else VERSION
        if newest > VERSION:
            raise LayoutError(
                f"Redis at {self._address.text} holds queues of celeriac's layout {newest}, and this version knows "
                f"layout {VERSION} only: upgrade celeriac here, or use another database or global_keyprefix"
            )

    def close(self) -> None:
        self._pool.close()

    def join(self, identity: tuple[str, Any], location: Mapping[str, Any]) -> bool:
        here = ("redis", self._address.server)
        # Another user may lack rights that the script would miss half-way.
        same = identity == here and location.get("user") == self._address.user
        self._results = Results()
        if same:
            self._results = Results(str(location["db"]), location["prefix"], location["groups"], location["ordered"])
        return same

    # -- publishing -----------------------------------------------------------------------------------------

    def declare(self, queues: Sequence[str]) -> None:
        commands = [command for queue in queues for command in self._binding(queue)]
        if commands:
            self._pool.run(*commands, timeout=self._timeout)

    def publish(self, messages: Sequence[Outgoing], timeout: float | None = None) -> None:
        limit = self._publish_timeout if timeout is None else min(timeout, self._publish_timeout)
        deadline = monotonic() + limit
        checked = bounded(messages, self._bounds, self._layout, self._written) if self._limited else None
        commands = self._pushes(messages) if checked is None else [checked.command]
        try:
            link = self._pool.take(limit)
        except OperationalError as error:
            error.unsent = True
            raise
        fresh = {outgoing.queue for outgoing in messages} - link.known
        if fresh:
            commands = [command for queue in fresh for command in self._binding(queue)] + commands
        link.send(*commands, deadline=deadline)
        link.stay_awake()
        try:
            answers = link.read(len(commands), deadline)
            if checked is not None and is_missing(answers[-1]):
                link.send(checked.whole, deadline=deadline)
                answers[-1] = link.read(1, deadline)[0]
        except OperationalError as error:
            raise OperationalError(f"{error}; it is not known whether the message was queued") from error
        self._pool.give(link)
        for answer in answers:
            if type(answer) is ReplyError:
                raise link.error(answer)
        link.known |= fresh
        if checked is not None:
            self._deleted.note(checked.answered(answers[-1]))

    def _pushes(self, messages: Sequence[Outgoing]) -> list[Command]:
        """One LPUSH for each LIST, more where it would grow too long; the order within a LIST is that of `messages`."""
        if len(messages) == 1:
            return [("LPUSH", *self._written(messages[0]))]
        rows: dict[str, list[bytes]] = {}
        for outgoing in messages:
            key, payload = self._written(outgoing)
            row = rows.get(key)
            if row is None:
                row = rows[key] = []
            row.append(payload)
        return [
            ("LPUSH", key, *row[start:stop])
            for key, row in rows.items()
            for start, stop in chunks([len(payload) for payload in row])
        ]

    def _written(self, outgoing: Outgoing) -> tuple[str, bytes]:
        """The LIST and the envelope of a message."""
        queue = outgoing.queue
        payload = envelope.encode(outgoing.message, queue, uuid4_text())
        return self._layout.ready(queue, outgoing.priority), payload

    def _binding(self, queue: str) -> list[Command]:
        binding, permanent, member = self._layout.binding(queue)
        return [("SADD", binding, member), ("SADD", permanent, member)]

    # -- consumers and leases -------------------------------------------------------------------------------

    def enlist(self, consumer: str, queues: Sequence[str]) -> None:
        if queues:
            leases = [self._layout.keys(queue).leases for queue in queues]
            commands: list[Command] = [("HSETNX", key, consumer, 1) for key in leases]
            self._pool.run(("MULTI",), *commands, ("EXEC",), timeout=self._timeout)

    def consumer(self, name: str, queues: Sequence[str]) -> RedisConsumer:
        return RedisConsumer(
            name,
            queues,
            pool=self._pool,
            layout=self._layout,
            results=lambda: self._results,
            follow_up=self._written,
            timeout=self._timeout,
            bounds=self._bounds,
            deleted=self._deleted,
        )

    def renew(self, consumers: Sequence[str], queues: Sequence[str]) -> list[str]:
        if not consumers or not queues:
            return []
        leases = [self._layout.keys(queue).leases for queue in queues]
        return [name.decode() for name in self._run(scripts.RENEW, leases, *consumers)]

    def leases(self, queues: Sequence[str]) -> dict[str, int]:
        counters: dict[str, int] = {}
        if queues:
            commands = [("HGETALL", self._layout.keys(queue).leases) for queue in queues]
            for answer in self._pool.run(*commands, timeout=self._timeout):
                for name, counter in pairs(answer):
                    consumer = name.decode()
                    counters[consumer] = counters.get(consumer, 0) + int(counter)
        return counters

    def recover(self, consumer: str, queues: Sequence[str], into: str, counter: int | None = None) -> list[Delivery]:
        """See `Broker.recover`. After an OperationalError call it again: what had been moved is returned then."""
        keys = [self._layout.consumer(consumer), self._layout.consumer(into)]
        for queue in queues:
            key = self._layout.keys(queue)
            keys += (key.leases, key.inflight(consumer), key.inflight(into))
        unsure = (consumer, into)
        arguments: list[Word] = [consumer, into, "" if counter is None else counter, int(unsure in self._unsure)]
        self._unsure.add(unsure)
        answer = self._run(scripts.RECOVER, keys, *arguments)
        self._unsure.discard(unsure)
        rows = zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        return [read_record(queues[index - 1], receipt, record) for index, receipt, record in rows]

    def held(self, consumer: str, queues: Sequence[str]) -> list[Delivery]:
        commands = [("HGETALL", self._layout.keys(queue).inflight(consumer)) for queue in queues]
        answers = self._pool.run(*commands, timeout=self._timeout) if commands else []
        return [
            read_record(queue, int(receipt), record)
            for queue, answer in zip(queues, answers, strict=True)
            for receipt, record in pairs(answer)
        ]

    def give_back(self, consumer: str, queues: Sequence[str], after: int) -> int:
        issued: int = self._put_back(consumer, queues, after, dismiss=False)
        return issued

    def dismiss(self, consumer: str, queues: Sequence[str]) -> None:
        self._put_back(consumer, queues, -1, dismiss=True)

    def _put_back(self, consumer: str, queues: Sequence[str], after: int, *, dismiss: bool) -> Any:
        keys = [self._layout.consumer(consumer)]
        for queue in queues:
            key = self._layout.keys(queue)
            keys += (key.ready, key.leases, key.inflight(consumer), key.base)
        return self._run(scripts.GIVE_BACK, keys, consumer, after, self._layout.separator, int(dismiss))

    # -- upkeep ---------------------------------------------------------------------------------------------

    def promote(self, queues: Sequence[str], limit: int = 1000) -> tuple[int, float | None]:
        moved, nearest = self._promote(queues, limit, all_of_them=False)
        return moved, None if nearest < 0 else nearest / 1000

    def release(self, queue: str) -> int:
        released = 0
        while True:
            moved, nearest = self._promote([queue], 1000, all_of_them=True)
            released += moved
            if nearest < 0:
                return released

    def _promote(self, queues: Sequence[str], limit: int, *, all_of_them: bool) -> tuple[int, int]:
        arguments = (min(limit, 1000), self._layout.separator, int(all_of_them), *kept(self._bounds))
        moved, nearest, gone = self._run(scripts.PROMOTE, self._ready_and_base(queues), *arguments)
        self._deleted.note(gone)
        return moved, nearest

    def waiter(self, queues: Sequence[str]) -> RedisWaiter:
        return RedisWaiter(queues, pool=self._pool, layout=self._layout, timeout=self._timeout)

    # -- revocations ----------------------------------------------------------------------------------------

    def revoke(self, entries: Sequence[Revocation]) -> int:
        return self._revoked.add(entries)

    def revocations(self, since: int = 0) -> tuple[int, list[Revocation]]:
        return self._revoked.newer(since)

    # -- looking and tidying --------------------------------------------------------------------------------

    def count(self, queues: Sequence[str]) -> dict[str, Counts]:
        if not queues:
            return {}
        flat = self._run(scripts.COUNT, self._ready_and_base(queues), self._layout.separator, *self._layout.steps)
        return {queue: Counts(*flat[6 * at : 6 * at + 6]) for at, queue in enumerate(queues)}

    def quarantined(self, queues: Sequence[str]) -> int:
        commands = [("LLEN", self._layout.keys(queue).base + "quarantine") for queue in queues]
        return sum(self._pool.run(*commands, timeout=self._timeout)) if commands else 0

    def purge(self, queues: Sequence[str]) -> int:
        if not queues:
            return 0
        keys = self._ready_and_base(queues)
        purged: int = self._run(scripts.PURGE, keys, self._layout.separator, *self._layout.steps)
        return purged

    def peek(self, queue: str, limit: int = 100) -> list[bytes]:
        if limit <= 0:
            return []
        keys = self._layout.keys(queue)
        lists = [keys.base + "suspects", keys.own, *self._layout.ready_all(queue)]
        found = self._pool.run(*[("LRANGE", key, -limit, -1) for key in lists], timeout=self._timeout)
        suspects = [payload_of(record) for record in reversed(found[0])]
        return (suspects + [payload for payloads in found[1:] for payload in reversed(payloads)])[:limit]

    def delayed(self, queue: str, limit: int = 100) -> list[tuple[float, bytes]]:
        if limit <= 0:
            return []
        key = self._layout.keys(queue).base + "delayed"
        (found,) = self._pool.run(("ZRANGE", key, 0, limit - 1, "WITHSCORES"), timeout=self._timeout)
        # RESP3 nests member and score, RESP2 does not.
        rows = found if not found or isinstance(found[0], list) else zip(found[::2], found[1::2], strict=True)
        return [(float(score) / 1000, payload_of(member[16:])) for member, score in rows]

    # -- inside ---------------------------------------------------------------------------------------------

    def _ready_and_base(self, queues: Sequence[str]) -> list[str]:
        return [name for key in map(self._layout.keys, queues) for name in (key.ready, key.base)]

    def _run(self, script: Script, keys: list[str], *arguments: Word) -> Any:
        return script.run(self._pool, keys, *arguments, timeout=self._timeout)
