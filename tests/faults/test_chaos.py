"""Blow upon blow, in every kind of lane: a few seconds each, seeded; the long runs are `python -m benchmarks.soak`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.blows import Blows
from tests.faults.chaos import STRIKES, Chaos
from tests.faults.world import World
from tests.proxy import Proxy
from tests.servers import RedisServer


class Kind(NamedTuple):
    """What a node is made of: its pool, runner processes, and lanes in each."""

    engine: str
    pool: str
    runners: int
    lanes: int = 1


KINDS = [
    Kind("sqlite", "prefork", 1),
    Kind("sqlite", "solo", 1),
    Kind("sqlite", "threads", 2, 4),
    Kind("redis", "prefork", 4),
    Kind("redis", "asyncio", 2, 20),
    Kind("redis", "gevent", 1, 10),
]
#: The slow ones take longer than a lease; a short run has one of them.
SLOW = ("isolate", "stall", "lock", "freeze")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
def test_chaos(
    kind: Kind, new_world: Callable[..., World], new_redis: Callable[..., RedisServer], tmp_path: Path
) -> None:
    if kind.pool == "gevent":
        pytest.importorskip("gevent")
    with contextlib.ExitStack() as stack:
        server = new_redis(appendfsync="always") if kind.engine == "redis" else None
        proxies = [stack.enter_context(Proxy(server.host, server.port)) for _ in range(2)] if server else []
        url = server.url(0) if server else f"sqlite:///{tmp_path / 'queue.db'}"
        world = new_world(url, url, pool=kind.pool, publish_timeout=1.0, strikes=STRIKES)
        many = kind.lanes > 1
        slots = (kind.lanes, "--processes", str(kind.runners)) if many else (kind.runners,)
        if proxies:
            urls = [f"redis://127.0.0.1:{proxy.port}/0" for proxy in proxies]
            kept = [world.keep(1, *slots, broker=url, backend=url)[0] for url in urls]
        else:
            kept = world.keep(2, *slots)
        blows = Blows(world, kept, server=server, proxies=proxies, lanes=kind.lanes)
        known = list(blows.kinds())
        quick = [name for name in known if name not in SLOW]
        dealt = [world.rng.choice(quick), world.rng.choice([name for name in known if name in SLOW])]
        world.rng.shuffle(dealt)
        chaos = Chaos(world, blows)
        chaos.play(dealt)
        chaos.settle()
