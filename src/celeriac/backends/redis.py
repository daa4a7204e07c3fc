"""Results on a Redis server, where Celery looks for them: `celery-task-meta-<id>`, stored and published under one name.

It stores documents and tells who watches; it reads none of them.
"""

from __future__ import annotations

import logging
import select
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from ..drivers import redis as driver
from ..drivers import redis_address
from ..drivers.redis import Command, Link, Pool, chunks
from ..drivers.redis_bell import Bell
from ..drivers.redis_script import Script
from ..errors import BackendError, OperationalError
from ..wire.message import Record
from .base import Opened
from .redis_chords import RedisChords

_logger = logging.getLogger(__name__)
_REFUSALS = {"": BackendError}
_STORE = Script(Path(driver.__file__).with_name("redis_final.lua"), Path(__file__).with_name("redis_store.lua"))

#: Seconds of silence after which the server is asked whether it is still there.
PROBE = 10.0
#: Seconds between two looks at a server that cannot push answers and messages on one connection.
POLL = 0.05
#: Seconds that connecting may take however short the wait.
_LEAST_CONNECT = 0.2
_RECONNECT_PAUSE = 0.1


class RedisBackend(RedisChords):
    """`backends.base.Backend` on one Redis server."""

    def __init__(self, opened: Opened) -> None:
        """Connects to nothing yet. Raises: ImproperlyConfigured.

        `opened.options` are `result_backend_transport_options` (global_keyprefix, client_name); `ssl` holds what
        `redis_backend_use_ssl` says.
        """
        self._address = redis_address.parse(opened.url, opened.options, setting="result_backend")
        self._prefix = _prefix(opened.options) + "celery-task-meta-"
        self._groups = _prefix(opened.options) + "celery-taskset-meta-"
        #: A new chord's parts stand in order, in a ZSET.
        self._ordered = bool(opened.options.get("result_chord_ordered", True))
        self._timeout = opened.connect_timeout
        self._pool = Pool(self._address, opened.connect_timeout, refusals=_REFUSALS)

    def __repr__(self) -> str:
        return f"<RedisBackend {self._address.text}>"

    def open(self) -> None:
        """Raises: OperationalError, BackendError."""
        self._pool.give(self._pool.take(self._timeout))

    def close(self) -> None:
        self._pool.close()

    @property
    def identity(self) -> tuple[str, Any]:
        return ("redis", self._address.server)

    @property
    def location(self) -> Mapping[str, Any]:
        return {
            "db": self._address.db, "prefix": self._prefix, "user": self._address.user,
            "groups": self._groups, "ordered": self._ordered,
        }  # fmt: skip

    def put_many(self, records: Sequence[Record]) -> None:
        # A document goes out twice, to the key and to the channel.
        for start, stop in chunks([2 * len(record.document) for record in records]):
            self._put(records[start:stop])

    def _put(self, records: Sequence[Record]) -> None:
        commands: list[Command] = []
        scripted = any(not record.final for record in records)
        for record in records:
            key, expires = self._prefix + record.task_id, int((record.expires or 0) * 1000)
            if not record.final:
                commands.append(_STORE.command([key], record.document, expires))
                continue
            commands.append(("PSETEX", key, expires, record.document) if expires else ("SET", key, record.document))
            commands.append(("PUBLISH", key, record.document))
        if scripted:
            # Known to the server before it is called, at little cost: states on the way are few.
            commands.insert(0, _STORE.load)
        self._pool.run(*commands, timeout=self._timeout)

    def get_many(self, ids: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(ids), 1000):
            some = ids[start : start + 1000]
            (documents,) = self._pool.run(("MGET", *[self._prefix + name for name in some]), timeout=self._timeout)
            found.update(
                (name, document) for name, document in zip(some, documents, strict=True) if document is not None
            )
        return found

    def forget(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), 1000):
            some = ids[start : start + 1000]
            self._pool.run(("DEL", *[self._prefix + name for name in some]), timeout=self._timeout)

    def put_group(self, group_id: str, data: bytes, expires: float | None) -> None:
        key, milliseconds = self._groups + group_id, int((expires or 0) * 1000)
        command: Command = ("PSETEX", key, milliseconds, data) if milliseconds else ("SET", key, data)
        self._pool.run(command, timeout=self._timeout)

    def get_group(self, group_id: str) -> bytes | None:
        (data,) = self._pool.run(("GET", self._groups + group_id), timeout=self._timeout)
        return data  # type: ignore[no-any-return]

    def forget_group(self, group_id: str) -> None:
        self._pool.run(("DEL", self._groups + group_id), timeout=self._timeout)

    def watch(self) -> RedisWatch:
        return RedisWatch(self._pool, self._prefix, self._timeout)


class RedisWatch:
    """`backends.base.Watch`: one connection that subscribes and reads in one write, so that no result falls between."""

    def __init__(self, pool: Pool, prefix: str, timeout: float, probe: float = PROBE) -> None:
        """Connects at the first `wait`. `timeout`: seconds a server may stay away; `probe`: seconds of silence."""
        self._pool = pool
        self._prefix = prefix.encode()
        self._timeout = timeout
        self._probe = probe
        #: Guards everything below, and writing to the link; never held while waiting for the server.
        self._lock = threading.Lock()
        self._ids: set[str] = set()
        self._link: Link | None = None
        #: What the answers on the way answer, in order: ids, or nothing for a PING.
        self._asked: deque[Sequence[str]] = deque()
        self._away_since: float | None = None
        self._told = False
        #: When to ask for a sign of life, or, if asked already, when to give up.
        self._silent_until = 0.0
        self._probing = False
        self._bell = Bell()

    def add(self, ids: Iterable[str]) -> None:
        with self._lock:
            fresh = [name for name in ids if name not in self._ids]
            self._ids.update(fresh)
            self._subscribe(fresh)

    def remove(self, ids: Iterable[str]) -> None:
        with self._lock:
            known = [name for name in ids if name in self._ids]
            self._ids.difference_update(known)
            link = self._link
            if known and link is not None and link.resp3:
                self._write(link, ("UNSUBSCRIBE", *map(self._channel, known)))

    def wait(self, timeout: float) -> dict[str, bytes]:
        until = monotonic() + timeout
        while True:
            try:
                link = self._connected(until)
                found = self._listen(link, until) if link.resp3 else self._look(link, until)
                if found is not None:
                    return found
            except OperationalError as error:
                if not self._stays_away(error, until):
                    return {}

    def interrupt(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        with self._lock:
            link, self._link = self._link, None
            if link is not None:
                link.close()
            self._bell.close()

    # -- writing, the lock held -----------------------------------------------------------------------------

    def _channel(self, name: str) -> bytes:
        return self._prefix + name.encode()

    def _subscribe(self, names: Sequence[str]) -> None:
        """Listen first, then read: whatever is stored when, one of both sees it."""
        link = self._link
        if link is None or link.closed or not link.resp3:
            return
        for start in range(0, len(names), 1000):
            some = names[start : start + 1000]
            channels = [self._channel(name) for name in some]
            self._asked.append(some)
            self._write(link, ("SUBSCRIBE", *channels), ("MGET", *channels))

    def _write(self, link: Link, *commands: Command) -> None:
        try:
            link.send(*commands, deadline=monotonic() + self._timeout)
        except OperationalError:
            # The link is closed now. Whoever waits finds it out, and begins anew with all ids.
            self.interrupt()

    # -- reading, one thread --------------------------------------------------------------------------------

    def _connected(self, until: float) -> Link:
        """The link, or a new one on which all that is watched is asked for."""
        with self._lock:
            link = self._link
            if link is not None and not link.closed:
                return link
        # A wait of a second must not take the whole connect deadline, where a server is frozen.
        link = self._pool.connect(max(until - monotonic(), _LEAST_CONNECT))
        with self._lock:
            self._link, self._away_since = link, None
            self._asked.clear()
            self._heard()
            self._subscribe(list(self._ids))
        if not link.resp3 and not self._told:
            self._told = True
            _logger.warning("Redis at %s is older than version 6; looking for results every %d ms",
                            link.address.text, POLL * 1000)  # fmt: skip
        return link

    def _stays_away(self, error: OperationalError, until: float) -> bool:
        """Pause before the next attempt; False when the wait is over. Raises `error` when it has been too long."""
        now = monotonic()
        if self._away_since is None:
            self._away_since = now
        elif now - self._away_since > self._timeout:
            self._away_since = None
            raise error
        if now >= until:
            return False
        return not self._bell.sleep(min(_RECONNECT_PAUSE, until - now))

    def _listen(self, link: Link, until: float) -> dict[str, bytes] | None:
        """Documents; empty when the time is over or somebody interrupts; None when there is a reason to look again."""
        poll = select.poll()
        poll.register(link.fileno(), select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        while True:
            now = monotonic()
            if now >= self._silent_until:
                self._ask_for_life(link, now)
            waits = max(0.0, min(until, self._silent_until) - now)
            events = [] if link.has_buffered() else poll.poll(1000 * waits)
            if link.has_buffered() or any(fd != self._bell.fileno() for fd, _ in events):
                self._heard()
                found = self._absorb(link)
                if found:
                    return found
            elif events:
                self._bell.silence()
                return None if link.closed else {}
            elif monotonic() >= until:
                return {}

    def _heard(self) -> None:
        self._silent_until, self._probing = monotonic() + self._probe, False

    def _ask_for_life(self, link: Link, now: float) -> None:
        """A half-open connection is as silent as an idle one, but does not answer."""
        if self._probing:
            link.close()
            raise OperationalError(f"Redis at {link.address.text} is silent")
        self._silent_until, self._probing = now + self._timeout, True
        with self._lock:
            self._asked.append(())
            self._write(link, ("PING",))

    def _absorb(self, link: Link) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for answer in link.absorb():
            names = self._asked.popleft()
            documents = link.check(answer)
            if names:
                found.update((name, doc) for name, doc in zip(names, documents, strict=True) if doc is not None)
        for push in link.pushes:
            if push[0] == b"message":
                found[push[1][len(self._prefix) :].decode()] = push[2]
        link.pushes.clear()
        return {name: document for name, document in found.items() if name in self._ids}

    def _look(self, link: Link, until: float) -> dict[str, bytes]:
        """Without pushes: read what is watched again and again."""
        while True:
            with self._lock:
                names = list(self._ids)
            if names:
                documents = link.call("MGET", *map(self._channel, names), timeout=self._timeout)
                found = {name: doc for name, doc in zip(names, documents, strict=True) if doc is not None}
                if found:
                    return found
            remaining = until - monotonic()
            if remaining <= 0:
                return {}
            if self._bell.sleep(min(POLL, remaining)):
                return {}


def _prefix(options: Mapping[str, Any]) -> str:
    """`global_keyprefix` as Celery reads it for results: it ends with a separator, or gets one."""
    prefix = str(options.get("global_keyprefix") or "")
    return prefix if not prefix or prefix[-1] in ":_-." else prefix + "_"


def factory(opened: Opened) -> RedisBackend:
    """See `registry`."""
    return RedisBackend(opened)
