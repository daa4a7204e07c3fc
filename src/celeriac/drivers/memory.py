"""The process's named memory: what memory brokers and backends of one URL share. It knows neither queues nor results.

A space lives as long as the process; a forked child starts with empty ones (a copied queue would run everything twice).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Space:
    """One lock and the stores that stand behind it, so that a step over two of them is atomic."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.RLock()
        self._stores: dict[str, Any] = {}

    def store(self, kind: str, make: Callable[[], T]) -> T:
        """The store of this kind, made at first use."""
        with self.lock:
            found: T | None = self._stores.get(kind)
            if found is None:
                found = self._stores[kind] = make()
            return found


_spaces: dict[str, Space] = {}
_guard = threading.Lock()


def space(url: str) -> Space:
    """The space that a `memory://` URL names: everything after the scheme, options excepted."""
    name = url.partition("://")[2].partition("?")[0].strip("/")
    with _guard:
        return _spaces.setdefault(name, Space(name))


def clear(url: str) -> None:
    """Forget a space, and with it its queues and results; adapters already open keep the old one."""
    name = url.partition("://")[2].partition("?")[0].strip("/")
    with _guard:
        _spaces.pop(name, None)


def _start_anew() -> None:
    global _guard
    _guard = threading.Lock()
    _spaces.clear()


os.register_at_fork(after_in_child=_start_anew)
