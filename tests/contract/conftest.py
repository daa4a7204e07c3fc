"""The engines that every contract test runs over. Redis is skipped with the reason where there is no server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.drivers import memory
from tests.contract.engines import Engine, opened
from tests.servers import RedisServer

_numbers = itertools.count()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine = _make(request, tmp_path)
    yield engine
    while opened:
        opened.pop().close()
    if engine.name == "memory":
        memory.clear(engine.url)


def _make(request: pytest.FixtureRequest, folder: Path) -> Engine:
    if request.param == "memory":
        number = next(_numbers)
        return Engine("memory", f"memory://contract-{number}", f"memory://elsewhere-{number}")
    if request.param == "sqlite":
        return Engine("sqlite", f"sqlite:///{folder / 'queue.db'}", f"sqlite:///{folder / 'other.db'}")
    server = request.getfixturevalue("redis_server")
    server.ask("FLUSHALL")
    other = request.getfixturevalue("other_redis")
    return Engine("redis", server.url(), other.url())


@pytest.fixture(scope="session")
def other_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A second server, that nothing is stored on."""
    server = RedisServer(tmp_path_factory.mktemp("other-redis"))
    server.start()
    yield server
    server.stop()
