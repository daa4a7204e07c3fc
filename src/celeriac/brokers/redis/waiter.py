"""Waits without holding a message: the server tells when a key that was looked at has changed (CLIENT TRACKING).

One waiter serves any number of queues and priorities. It reserves nothing.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Sequence
from time import monotonic

from ...drivers.redis import Link, Pool
from ...drivers.redis_bell import Bell
from ...errors import BrokerError, OperationalError
from ...foundation.polling import poller
from .layout import Layout

_logger = logging.getLogger(__name__)

#: Seconds of silence after which the server is asked whether it is still there: a half-open connection is silent, too.
PROBE = 10.0
#: Seconds between two looks at a server that cannot push.
POLL = 0.05


class RedisWaiter:
    """`brokers.base.Waiter`. `arm` and `wait` belong to one thread, `interrupt` to any."""

    def __init__(
        self, queues: Sequence[str], *, pool: Pool, layout: Layout, timeout: float, probe: float = PROBE
    ) -> None:
        """Connects. Raises: OperationalError. `timeout` and `probe` are in seconds."""
        self._pool = pool
        self._timeout = timeout
        self._probe = probe
        self._ready = [name for queue in queues for name in layout.ready_all(queue)]
        self._ready += [layout.keys(queue).base + name for queue in queues for name in ("suspects", "own")]
        #: Looked at, so that a change wakes; not counted, since few may reserve them.
        self._special = [layout.keys(queue).base + "quarantine" for queue in queues]
        self._tracks = True
        self._bell = Bell()
        self._link: Link | None = None
        try:
            self._connected()
        except BaseException:
            self.close()
            raise

    def arm(self) -> int:
        """See `Waiter.arm`. Raises: OperationalError; the next call connects anew."""
        link = self._connected()
        deadline = monotonic() + self._timeout
        link.send(("EXISTS", *self._ready), ("EXISTS", *self._special), deadline=deadline)
        there, _ = [link.check(answer) for answer in link.read(2, deadline)]
        # Pushes that came before the answer tell of changes that the answer has seen.
        link.pushes.clear()
        if not there:
            return 0
        link.send(*[("LLEN", key) for key in self._ready], deadline=deadline)
        lengths = [link.check(answer) for answer in link.read(len(self._ready), deadline)]
        waiting: int = sum(lengths)
        return max(waiting, 1)

    def wait(self, timeout: float, also: int | None = None) -> bool:
        """See `Waiter.wait`. A lost connection ends the wait with True: nobody can tell what came meanwhile."""
        until = monotonic() + timeout
        link = self._link
        if link is None or link.closed:
            return True
        try:
            return self._wait(link, until, also) if self._tracks else self._look(link, until, also)
        except OperationalError as error:
            _logger.info("waiting for messages: %s", error)
            link.close()
            return True

    def interrupt(self) -> None:
        """See `Waiter.interrupt`."""
        self._bell.ring()

    def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._bell.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _connected(self) -> Link:
        link = self._link
        if link is not None and not link.closed:
            return link
        link = self._link = self._pool.connect()
        self._tracks = link.resp3
        if link.resp3:
            try:
                link.call("CLIENT", "TRACKING", "ON", timeout=self._timeout)
            except BrokerError:  # not allowed to this user, or not known to this server
                self._tracks = False
        if not self._tracks:
            _logger.warning(
                "Redis at %s cannot push (CLIENT TRACKING needs version 6 and the right to it); looking every %d ms",
                link.address.text,
                POLL * 1000,
            )
        return link

    def _wait(self, link: Link, until: float, also: int | None) -> bool:
        """Until an invalidation comes; asks for a sign of life when all is silent."""
        poll = poller()
        poll.register(link.fileno(), select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        if also is not None:
            poll.register(also, select.POLLIN)
        silent_until, asked = monotonic() + self._probe, False
        while not link.pushes:
            now = monotonic()
            if now >= until:
                return False
            if now >= silent_until:
                if asked:
                    raise OperationalError(f"Redis at {link.address.text} is silent")
                link.send(("PING",), deadline=now + self._timeout)
                silent_until, asked = now + self._timeout, True
            events = [] if link.has_buffered() else poll.poll(1000 * (min(until, silent_until) - now))
            if any(fd != link.fileno() for fd, _ in events):
                self._bell.silence()
                return False
            if events or link.has_buffered():
                link.absorb()
                silent_until, asked = monotonic() + self._probe, False
        link.pushes.clear()
        return True

    def _look(self, link: Link, until: float, also: int | None) -> bool:
        """Without pushes: look again and again."""
        while True:
            if link.call("EXISTS", *self._ready, *self._special, timeout=self._timeout):
                return True
            remaining = until - monotonic()
            if remaining <= 0:
                return False
            if self._bell.sleep(min(POLL, remaining), also):
                return False
