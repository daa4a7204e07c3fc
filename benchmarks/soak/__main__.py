"""python -m benchmarks.soak --minutes 5 --pool prefork --runners 2 --engine redis --seed 1

Two nodes with outer restarters, tasks of 0, 5 and 500 ms all the while, and blow upon blow as in `tests/faults`: kills
of a runner, a supervisor, a node; a node frozen past its lease; on Redis connections cut, slow and silent, the server
killed and started, or standing still; on SQLite the file locked by another program. It ends with a line for the table
of `benchmarks/soak.md`, or with the assertion that failed; logs are in the folder that is named at the start.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.blows import Blows
from tests.faults.chaos import STRIKES, Chaos
from tests.faults.world import World
from tests.processes import Node
from tests.proxy import Proxy
from tests.servers import RedisServer

#: Of the kinds that hold more than one task in a process: how many, where --lanes does not say.
LANES = {"threads": 8, "asyncio": 50, "gevent": 20, "eventlet": 20}
#: Tasks that may wait before the sender does, for each lane of a node.
BACKLOG = 150


def main() -> None:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="celeriac-soak-"))
    print(folder)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("stopped"))
    os.environ["CELERIAC_HOME"] = str(folder / "home")
    with contextlib.ExitStack() as stack:
        server = _server(folder, stack) if options.engine == "redis" else None
        proxies = [stack.enter_context(Proxy(server.host, server.port)) for _ in range(2)] if server else []
        nodes: list[Node] = []
        stack.callback(lambda: [node.kill_tree() for node in nodes])

        def new_node(app: str, *args: str, **more: Any) -> Node:
            nodes.append(Node(app, *args, log=folder / f"node-{len(nodes)}.log", **more))
            return nodes[-1]

        url = server.url(0) if server else f"sqlite:///{folder / 'queue.db'}"
        chance = Random(options.seed)
        world = World(folder, url, url, new_node, chance, pool=options.pool, publish_timeout=1.0, strikes=STRIKES)
        _soak(options, world, server, proxies)
        for node in nodes:
            node.assert_gone()
        print(_row(options, world, len(nodes)))


def _soak(options: argparse.Namespace, world: World, server: RedisServer | None, proxies: list[Proxy]) -> None:
    lanes = options.lanes or LANES.get(options.pool, 1)
    slots = (lanes, "--processes", str(options.runners)) if options.pool in LANES else (options.runners,)
    if proxies:
        urls = [f"redis://127.0.0.1:{proxy.port}/0" for proxy in proxies]
        kept = [world.keep(1, *slots, broker=url, backend=url)[0] for url in urls]
    else:
        kept = world.keep(2, *slots)
    blows = Blows(world, kept, server=server, proxies=proxies, lanes=lanes)
    kinds = [kind for kind in blows.kinds() if not options.only or kind in options.only.split(",")]
    end = time.monotonic() + 60 * options.minutes

    def dealt() -> Any:
        while time.monotonic() < end:
            yield world.rng.choice(kinds)

    chaos = Chaos(world, blows, BACKLOG * lanes * options.runners)
    try:
        chaos.play(dealt())
        chaos.settle(within=120)
    finally:
        for each in kept:
            each.release()
        print(dict(chaos.dealt))


def _row(options: argparse.Namespace, world: World, nodes: int) -> str:
    started = world.journal.started()
    twice = sum(count - 1 for count in started.values())
    excused = sum(len(kill.unsettled) for kill in world.account.kills)
    lanes = options.lanes or LANES.get(options.pool, 1)
    return (
        f"| {options.engine} | {options.pool} | {options.runners} x {lanes} | {options.minutes:g} | {options.seed} "
        f"| {len(world.accepted)} | {len(started)} | {nodes} | {twice} | {excused} |"
    )


def _server(folder: Path, stack: contextlib.ExitStack) -> RedisServer:
    (folder / "redis").mkdir()
    server = RedisServer(folder / "redis", appendfsync="always")
    server.start()
    stack.callback(server.stop)
    return server


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__, formatter_class=_Plain)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--pool", default="prefork")
    parser.add_argument("--runners", type=int, default=2, help="runner processes of a node (solo: 1)")
    parser.add_argument("--lanes", type=int, default=0, help="tasks at a time in each, where the pool has many")
    parser.add_argument("--engine", choices=["redis", "sqlite"], default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="blows to deal, by name: runner,node,freeze …")
    return parser.parse_args()


_Plain = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
