"""Which broker adapter serves which URL scheme. Adapters are imported on first use, and know nothing of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..drivers.adapters import Adapter, factory
from .base import Broker, Opened
from .bounds import Bounds

_REDIS = Adapter("celeriac.brokers.redis", extra="redis")

#: Scheme -> adapter. The module has a function `factory(opened: Opened) -> Broker`.
ADAPTERS: dict[str, Adapter] = {
    "memory": Adapter("celeriac.brokers.memory"),
    "sqlite": Adapter("celeriac.brokers.sqlite"),
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+socket": _REDIS,
    "unix": _REDIS,
}


def open_broker(
    url: str,
    options: Mapping[str, Any] | None = None,
    *,
    connect_timeout: float = 4.0,
    publish_timeout: float = 5.0,
    bounds: Bounds | None = None,
) -> Broker:
    """The broker for `url`. It connects at `open()`, or else at first use: a server that is away now is no error here.

    `options` are the `broker_transport_options`, besides `main_file` (see `foundation.home`); timeouts are seconds,
    `bounds` what the app limits.

    Raises: ImproperlyConfigured (unknown scheme, missing client library, option that cannot work).
    Celery's guide: Configuration and defaults, "Broker settings".
    """
    opened = Opened(url, options or {}, connect_timeout, publish_timeout, bounds or Bounds())
    broker: Broker = factory("broker", url, ADAPTERS)(opened)
    return broker
