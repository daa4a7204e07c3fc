"""Where the queues of one measurement live: a private Redis server or a fresh SQLite file. Touches nothing else."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import redis

from .processes import Child


class Stage(Protocol):
    """A place for queues, used by one measurement at a time."""

    url: str

    def reset(self) -> None:
        """Empty it: `url` may change."""
        ...

    def sibling(self) -> Self:
        """Another one of the same kind, to be closed by the caller."""
        ...

    def waiting(self, queue: str) -> int | None:
        """Messages in the queue as peers see it; None where nobody can tell from outside."""
        ...

    def close(self) -> None: ...


#: Makes a stage in a directory of its own.
Engine = Callable[[Path], Stage]


class RedisStage:
    """A redis-server on a free loopback port; no persistence unless `aof`: then `appendfsync everysec`."""

    def __init__(self, directory: Path, *, aof: bool = False) -> None:
        self._directory, self._aof = directory, aof
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("redis-server is not installed (Debian: apt-get install redis-server)")
        directory.mkdir(parents=True, exist_ok=True)
        port = _free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        durable = ("--appendonly", "yes", "--appendfsync", "everysec") if aof else ("--appendonly", "no")
        listen = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(directory))
        command = (program, *listen, "--save", "", *durable)
        self._server = Child(command, environment=os.environ, directory=directory, log=directory / "redis.log")
        self._client = redis.Redis(host="127.0.0.1", port=port, socket_timeout=60)
        self._await_answer()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                self._client.ping()
                return
            except redis.ConnectionError:
                if not self._server.alive or time.monotonic() > deadline:
                    self.close()
                    raise RuntimeError(f"redis-server did not start:\n{self._server.tail()}") from None
                time.sleep(0.01)

    def reset(self) -> None:
        self._client.flushall()

    def sibling(self) -> Self:
        return type(self)(self._directory / "sibling", aof=self._aof)

    def waiting(self, queue: str) -> int | None:
        return int(self._client.llen(queue))

    def close(self) -> None:
        self._client.close()
        self._server.kill()


class SqliteStage:
    """A file that does not exist yet, in a directory that does: every `reset` means a new one.

    `synchronous` is SQLite's pragma, the same for every side; empty leaves each at its default.
    """

    def __init__(self, directory: Path, *, synchronous: str = "") -> None:
        self._directory, self._synchronous = directory, synchronous
        self._number = 0
        self.reset()

    def reset(self) -> None:
        self.close()
        self._number += 1
        place = self._directory / str(self._number)
        place.mkdir(parents=True)
        query = f"?synchronous={self._synchronous}" if self._synchronous else ""
        self.url = f"sqlite:///{place / 'queue.db'}{query}"

    def sibling(self) -> Self:
        return type(self)(self._directory / "sibling", synchronous=self._synchronous)

    def waiting(self, queue: str) -> int | None:
        return None

    def close(self) -> None:
        shutil.rmtree(self._directory / str(self._number), ignore_errors=True)


def redis_aof(directory: Path) -> RedisStage:
    """The engine with an append-only file that is synced every second."""
    return RedisStage(directory, aof=True)


def sqlite_normal(directory: Path) -> SqliteStage:
    """The engine with the log synced at checkpoints only: safe against crashes of processes, not of the machine."""
    return SqliteStage(directory, synchronous="NORMAL")


def sqlite_full(directory: Path) -> SqliteStage:
    """The engine with every commit synced to the disk."""
    return SqliteStage(directory, synchronous="FULL")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
