"""Which result backend serves which URL scheme. Adapters are imported on first use, and know nothing of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..drivers.adapters import Adapter, factory
from .base import Backend, Opened

_MEMORY = Adapter("celeriac.backends.memory")
_REDIS = Adapter("celeriac.backends.redis", extra="redis")

#: Scheme -> adapter. The module has a function `factory(opened: Opened) -> Backend`.
ADAPTERS: dict[str, Adapter] = {
    "memory": _MEMORY,
    "cache+memory": _MEMORY,
    "sqlite": Adapter("celeriac.backends.sqlite"),
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+socket": _REDIS,
    "unix": _REDIS,
}


def open_backend(
    url: str,
    options: Mapping[str, Any] | None = None,
    *,
    connect_timeout: float = 4.0,
) -> Backend:
    """The result backend for `url`. It connects at `open()`, or else when it is first used.

    `options` are the `result_backend_transport_options`, besides `main_file` (see `foundation.home`); the timeout is in
    seconds, for connecting and for each command.

    Raises: ImproperlyConfigured (unknown scheme, missing client library, option that cannot work).
    Celery's guide: Configuration and defaults, "Task result backend settings".
    """
    backend: Backend = factory("result backend", url, ADAPTERS)(Opened(url, options or {}, connect_timeout))
    return backend
