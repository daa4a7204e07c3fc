"""`Opened`: what one app has open in this process - broker, backend, publisher and waits - each made on first use.

After a fork the child has none of it: it makes its own, and leaves its parent's alone.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..backends.registry import open_backend
from ..brokers.bounds import Bounds
from ..brokers.registry import open_broker
from ..errors import ImproperlyConfigured
from . import current
from .addresses import backend_address, broker_address
from .disabled import DisabledBackend
from .progress import seconds
from .publisher import Publisher
from .waiting import Waits

if TYPE_CHECKING:
    from ..backends.base import Backend
    from ..brokers.base import Broker
    from .app import Celery

__all__ = ["Opened"]

#: Seconds.
_FOR_EVER = 100 * 365 * 86400.0
_OVERFLOW = ("raise", "block", "drop_oldest")
#: What a forked child inherited. It is kept, unused, until the child ends: closing a parent's connection (or letting
#: it be collected, which closes it) would speak on the parent's sockets and break the locks of its files.
_inherited: list[dict[str, Any]] = []


class Opened:
    """The things themselves; `app.broker` and its like come from here."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._made: dict[str, Any] = {}
        self._lock = threading.RLock()

    @property
    def broker(self) -> Broker:
        """This process's broker. It connects at first use."""
        return self._made.get("broker") or self._make("broker", self.new_broker)  # type: ignore[no-any-return]

    @property
    def backend(self) -> Backend:
        """This process's result backend; one that refuses to be read where none is configured."""
        return self._made.get("backend") or self._make("backend", self.new_backend)  # type: ignore[no-any-return]

    @property
    def publisher(self) -> Publisher:
        """The way out for all calls."""
        return self._made.get("publisher") or self._make("publisher", lambda: Publisher(self._app))  # type: ignore[no-any-return]

    @property
    def waits(self) -> Waits:
        """The common wait for results."""
        return self._made.get("waits") or self._make("waits", lambda: Waits(self._app))  # type: ignore[no-any-return]

    def new_broker(self, *, write: bool = True) -> Broker:
        """Another broker by the settings, owned by the caller."""
        conf = self._app.conf
        url, options = broker_address(conf, self._app.main_file, write=write)
        connect = _seconds(conf.broker_connection_timeout)
        if write:  # the first call connects as well, and has one deadline for it all (R8)
            connect = min(connect, conf.publish_timeout)
        return open_broker(
            url, options, connect_timeout=connect, publish_timeout=conf.publish_timeout, bounds=bounds_of(conf)
        )

    def new_backend(self) -> Backend:
        """Another result backend by the settings, owned by the caller."""
        conf = self._app.conf
        address = backend_address(conf, self._app.main_file)
        if address is None:
            return DisabledBackend()
        timeout = conf.redis_socket_connect_timeout or conf.broker_connection_timeout
        return open_backend(*address, connect_timeout=_seconds(timeout))

    def close(self) -> None:
        """Close what is open; it is made anew when it is needed again."""
        with self._lock:
            made, self._made = self._made, {}
        for name in ("waits", "publisher", "backend", "broker"):
            close = getattr(made.get(name), "close", None)
            if close is not None:
                close()

    def forget(self) -> None:
        """In a forked child: what there is belongs to the parent. The lock may be held by a thread that is not here."""
        _inherited.append(self._made)
        self._made, self._lock = {}, threading.RLock()

    def _make(self, name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]


def bounds_of(conf: Any) -> Bounds:
    """What the app limits in its broker."""
    lengths = conf.queue_max_length
    apart = isinstance(lengths, Mapping)
    for length in lengths.values() if apart else [] if lengths is None else [lengths]:
        if not isinstance(length, int) or length < 1:
            raise ImproperlyConfigured(f"queue_max_length is {lengths!r}: numbers of messages must be 1 or more")
    if conf.queue_overflow not in _OVERFLOW:
        raise ImproperlyConfigured(f"queue_overflow is {conf.queue_overflow!r}: choose one of {', '.join(_OVERFLOW)}")
    for name in ("dead_letter_max", "revokes_max"):
        if int(conf[name]) < 0:
            raise ImproperlyConfigured(f"{name} is {conf[name]!r}: it must be 0 or more")
    return Bounds(
        queue_lengths=dict(lengths) if apart else {},
        queue_length=None if apart else lengths,
        drop_oldest=conf.queue_overflow == "drop_oldest",
        revokes_max=int(conf.revokes_max),
        revokes_expire=seconds(conf.revokes_expire) or _FOR_EVER,
        dead_letter_max=int(conf.dead_letter_max),
        dead_letter_expires=seconds(conf.dead_letter_expires) or _FOR_EVER,
    )


def _seconds(timeout: float | None) -> float:
    # Celery's None is "wait for ever": nothing here does (R7).
    return 4.0 if timeout is None else float(timeout)


def _after_fork() -> None:
    apps = current.apps()
    for app in apps:
        app.opened.forget()
    for app in apps:  # all of them are sound before a receiver uses any
        app.on_after_fork.send(sender=app)


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork)
