"""Seeds and worlds for the fault tests. CELERIAC_FAULT_SEED=… repeats a run's choices."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faults.world import World
from tests.processes import Node
from tests.servers import RedisServer

_SEED = os.environ.get("CELERIAC_FAULT_SEED")
LONG = os.environ.get("CELERIAC_LONG_FAULTS") == "1"


@pytest.fixture
def rng() -> Random:
    seed = int(_SEED) if _SEED else secrets.randbits(32)
    print(f"CELERIAC_FAULT_SEED={seed}")
    return Random(seed)


@pytest.fixture(params=["sqlite", "redis"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_world(tmp_path: Path, new_node: Callable[..., Node], rng: Random) -> Iterator[Callable[..., World]]:
    """Makes worlds on given URLs."""
    worlds: list[World] = []

    def new(broker: str, backend: str, **options: Any) -> World:
        world = World(tmp_path, broker, backend, new_node, rng, **options)
        worlds.append(world)
        return world

    yield new
    for world in worlds:
        for kept in world.kept:
            kept.release()
        world.app.close()


@pytest.fixture
def world(engine: str, tmp_path: Path, new_world: Callable[..., World], request: pytest.FixtureRequest) -> World:
    """An empty world on each engine."""
    if engine == "sqlite":
        url = f"sqlite:///{tmp_path / 'queue.db'}"
        return new_world(url, url)
    server: RedisServer = request.getfixturevalue("redis_server")
    server.ask("FLUSHALL")
    return new_world(server.url(0), server.url(1))
