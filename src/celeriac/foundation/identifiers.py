"""Names that must not clash: task ids, delivery tags, node names. Random bytes come from the operating system only."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from functools import lru_cache

__all__ = ["anonymous_name", "expand", "hostname", "node_name", "uuid4_text"]

#: Ids made per call of the kernel's generator: the call costs a microsecond and more whatever it returns.
_BATCH = 128
_VARIANT = "89ab" * 4
_spare: list[str] = []


def uuid4_text() -> str:
    """A new UUID (version 4) as text, as `str(uuid.uuid4())` has it, at a tenth of the cost.

    Its first 48 bits are the millisecond in which its batch was drawn, the other 74 are random: stores that keep
    results in the order of their ids then write side by side what was called together. With random ids each result
    of a SQLite file dirtied a page of its own, and a million of them were drained at half the speed.

    Safe in threads (`list.pop` is atomic) and across forks (a child never sees what its parent had in store).
    """
    try:
        return _spare.pop()
    except IndexError:
        return _refill()


def _refill() -> str:
    moment = f"{time.time_ns() // 1_000_000:012x}"
    digits = os.urandom(10 * _BATCH).hex()
    prefix = f"{moment[:8]}-{moment[8:12]}-4"
    made = [
        f"{prefix}{part[:3]}-{_VARIANT[int(part[3], 16)]}{part[4:7]}-{part[7:19]}"
        for part in (digits[i : i + 20] for i in range(0, 20 * _BATCH, 20))
    ]
    first = made.pop()
    _spare.extend(made)
    return first


@lru_cache(maxsize=1)
def hostname() -> str:
    """The host's name as the system knows it. Looked up once."""
    return socket.gethostname()


@lru_cache(maxsize=1)
def anonymous_name() -> str:
    """`gen<pid>@<host>`: what a process that is no worker calls itself (the header `origin`)."""
    return f"gen{os.getpid()}@{hostname()}"


def node_name(pattern: str | None = None) -> str:
    """The full name of a worker, as `-n` makes it in Celery (guide: Workers, "Starting the worker").

    `w1` is `celery@w1`, `w1@%h` is `w1@<host>`, `@host` is `celery@host`, nothing at all is `celery@<host>`.
    Raises: ValueError for a `%x` that does not exist.
    """
    name, host = _split(pattern or "")
    return _substitute(f"{name or 'celery'}@{host or hostname()}", _host_keys(hostname(), None, 0))


def expand(pattern: str, node: str, index: int = 0) -> str:
    """`%n` (name), `%h` (host), `%d` (domain), `%p` (the whole node name), `%i`/`%I` (process index) in file names.

    `index` is 0 in the supervisor, and then `%I` is empty. Raises: ValueError for a `%x` that does not exist.
    """
    name, host = _split(node)
    keys = _host_keys(host or hostname(), name or "celery", index)
    keys["p"] = node
    return _substitute(pattern, keys)


def _split(node: str) -> tuple[str, str]:
    name, at, host = node.partition("@")
    return (name, host) if at else ("", name)


def _host_keys(host: str, name: str | None, index: int) -> dict[str, str]:
    short, _, domain = host.partition(".")
    return {
        "%": "%",
        "h": host,
        "n": name or short,
        "d": domain,
        "i": str(index),
        "I": f"-{index}" if index else "",
    }


_ESCAPE = re.compile(r"%([%\w])")


def _substitute(pattern: str, keys: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        try:
            return keys[match[1]]
        except KeyError:
            raise ValueError(f"Unknown format %{match[1]} in string {pattern!r}: there are %h %n %d %i %I") from None

    return _ESCAPE.sub(value, pattern)


def _forget() -> None:
    """In a forked child: what the parent drew is the parent's, and so is its pid."""
    _spare.clear()
    anonymous_name.cache_clear()


_at_fork: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _at_fork is not None:
    _at_fork(after_in_child=_forget)
