"""A disk that fills up under the queue file: played in a mount namespace of its own, on a small tmpfs.

    unshare --mount [--map-root-user] python -m tests.faults.full_disk FOLDER

Whoever publishes is told at once that the disk is full; workers wait, without spinning; when there is room again all
goes on, and nothing has run twice or is lost.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from celeriac.errors import OperationalError
from tests.faults import nodes
from tests.faults.world import World
from tests.processes import Node, until

TIMEOUT, SLACK = 2.0, 1.0
#: Seconds that the disk stays full: longer than a lease.
FULL = 3.0


def main(folder: Path) -> None:
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], check=True)
    made: list[Node] = []

    def new_node(app: str, *args: str, **more: Any) -> Node:
        made.append(Node(app, *args, log=folder / f"node-{len(made)}.log", **more))
        return made[-1]

    url = f"sqlite:///{disk / 'queue.db'}"
    world = World(folder, url, url, new_node, Random(), publish_timeout=TIMEOUT)
    try:
        _play(world, disk)
        for node in made:
            node.assert_gone()
    finally:
        for node in made:
            print(node.output())
            node.kill_tree()
        world.app.close()


def _play(world: World, disk: Path) -> None:
    (kept,) = world.keep()
    members = kept.node.members()
    world.send([0.0] * 100)
    world.until_drained()
    # Two end while it is full; others wait behind them.
    world.send([1.0, 1.0])
    until(lambda: len(world.journal.read().starts) == 102, what="both run")
    world.send([0.0] * 50)
    with filled(disk):
        _publishers_are_told(world)
        used, since = nodes.processor_seconds(members), time.monotonic()
        until(lambda: time.monotonic() > since + FULL, within=FULL + 5)
        used = nodes.processor_seconds(members) - used
        print(f"{used:.2f} s of processor time in {FULL:.0f} s")
        assert used < 0.3 * FULL
        assert kept.node.members() == members, "nobody has died of it"
    world.send([0.0] * 50)
    world.until_drained(within=20)
    world.stop()
    world.check()


def _publishers_are_told(world: World) -> None:
    refused: list[str] = []
    while len(refused) < 3:
        since = time.monotonic()
        try:
            world.accepted.add(world.work.delay(0.0).id)
        except OperationalError as error:
            refused.append(str(error))
        assert time.monotonic() - since < TIMEOUT + SLACK
    assert all("No space left" in text for text in refused), refused


@contextlib.contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No byte is left on it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    assert os.statvfs(disk).f_bavail == 0
    yield
    ballast.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
