"""Blows: what is done to nodes and their broker, and which runs may therefore come twice.

Each is told to the world's account at the moment at which nobody else can have taken over what its victims held. The
fault tests and the soak (`benchmarks/soak`) deal the same ones.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.faults import nodes
from tests.faults.world import SLACK, World, supervisor_of
from tests.processes import Node, until
from tests.proxy import Proxy
from tests.servers import RedisServer

#: Seconds that a slow network adds to each piece of data.
DELAY = 0.05
#: Seconds within which a thawed or healed process has noticed that its lease is over.
NOTICE = 1.0


class Late:
    """Runs that were about to start when their process was frozen: they may still come, one a lane."""

    def __init__(self, world: World, workers: list[int], lanes: int) -> None:
        self._world = world
        self._workers = set(workers)
        self._most = lanes * len(workers)
        self._since = time.monotonic()

    def excuse(self) -> None:
        """Raises: AssertionError where what has lost its lease went on starting."""
        late = [run for run in self._world.journal.read().starts if run.pid in self._workers and run.at > self._since]
        assert len(late) <= self._most, f"lost its lease, and started {late}"
        assert all(run.at < self._since + NOTICE for run in late), late
        self._world.account.excuse("starts decided before", [run.task_id for run in late])


class Blows:
    """What can be dealt to these nodes. `proxies`: of each node, where it talks to Redis through one."""

    def __init__(
        self,
        world: World,
        kept: list[nodes.KeptNode],
        *,
        server: RedisServer | None = None,
        proxies: list[Proxy] | None = None,
        lanes: int = 1,
    ) -> None:
        self._world = world
        self._kept = kept
        self._server = server
        self._proxies = proxies or []
        self._lanes = lanes
        self._late: list[Late] = []

    def kinds(self) -> dict[str, Callable[[], None]]:
        """By name, quick ones first."""
        blows: dict[str, Callable[[], None]] = {"node": self.kill_node, "roll": self.roll}
        if not self._world.solo:
            blows |= {"runner": self.kill_runner, "supervisor": self.kill_supervisor}
        if self._proxies:
            blows |= {"cut": self.cut, "slow": self.slow, "isolate": self.isolate}
        if self._server is not None:
            blows |= {"restart": self.restart, "stall": self.stall}
        else:
            blows |= {"lock": self.lock}
        if len(self._kept) > 1:
            blows |= {"freeze": self.freeze}
        return blows

    def over(self) -> None:
        """When all has settled down."""
        for late in self._late:
            late.excuse()

    # -- processes ----------------------------------------------------------------------------------------------------

    def kill_runner(self) -> None:
        # Frozen first: its supervisor takes its work back so quickly that the look at what was settled would come late.
        node = self._some_node()
        pid = self._world.rng.choice(until(lambda: nodes.runners(node), what="it has runners"))
        nodes.freeze([pid])
        self._world.account.note("kill -9 of a runner", [pid])
        nodes.kill([pid])

    def kill_supervisor(self) -> None:
        """Its children must end by themselves."""
        kept = self._world.rng.choice(self._kept)
        node = kept.wait_restarted(kept.starts)
        members, starts = node.members(), kept.starts
        os.kill(node.pid, signal.SIGKILL)
        nodes.until_dead(members)
        # Another node takes the work over only after a lease: what has a result now got it from the dead.
        self._world.account.note("kill -9 of a supervisor", members)
        kept.wait_restarted(starts + 1)

    def kill_node(self) -> None:
        kept = self._world.rng.choice(self._kept)
        self._world.account.note("kill -9 of a node", kept.kill())

    def roll(self) -> None:
        """A rolling restart, as Kubernetes does it: what runs ends first, and nothing runs twice."""
        kept = self._world.rng.choice(self._kept)
        node, starts = kept.wait_restarted(kept.starts), kept.starts
        code = node.stop(within=20)
        assert code == 0, f"exit code {code}:\n{node.output()}"
        kept.wait_restarted(starts + 1)

    def freeze(self) -> None:
        """Past its lease, and thawed."""
        node = self._some_node()
        frozen = freeze(self._world, node, "node")
        workers = self._workers(node)
        self._world.account.note("a node frozen", workers)
        until_taken(self._world, node)
        late = Late(self._world, workers, self._lanes)
        nodes.thaw(frozen)
        self._late.append(late)

    # -- the broker ---------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        for proxy in self._proxies:
            proxy.cut()

    def slow(self) -> None:
        for proxy in self._proxies:
            proxy.delay(DELAY)
        _pass(1.0)
        for proxy in self._proxies:
            proxy.heal()

    def isolate(self) -> None:
        """One node's network swallows everything, for longer than its lease."""
        which = self._world.rng.randrange(len(self._kept))
        node = self._kept[which].wait_restarted(self._kept[which].starts)
        workers = self._workers(node)
        began = time.monotonic()
        self._proxies[which].black_hole()
        self._world.account.note("a node without network", workers)
        until_taken(self._world, node)
        workers = list({*workers, *self._workers(node)})  # it may have been starting some of them
        starts = self._world.journal.read().starts
        self._world.account.excuse(
            "starts without network", [run.task_id for run in starts if run.pid in workers and run.at >= began]
        )
        self._late.append(Late(self._world, workers, self._lanes))
        self._proxies[which].heal()

    def restart(self) -> None:
        assert self._server is not None
        self._server.kill()
        self._server.start()

    def stall(self) -> None:
        """Redis stands still for longer than a lease: nobody has died."""
        assert self._server is not None
        self._server.pause()
        _pass(1.5 * self._world.lease)
        self._server.resume()

    def lock(self) -> None:
        """Another program holds a transaction open on the queue file for longer than a lease."""
        path = Path(self._world.environment["FAULT_BROKER"].removeprefix("sqlite:///"))
        with locked(path):
            _pass(1.5 * self._world.lease)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _some_node(self) -> Node:
        kept = self._world.rng.choice(self._kept)
        return kept.wait_restarted(kept.starts)

    def _workers(self, node: Node) -> list[int]:
        return [node.pid] if self._world.solo else until(lambda: nodes.runners(node), what="it has runners")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds a transaction open on the queue file."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def freeze(world: World, victim: Node, what: str) -> list[int]:
    """Freeze it at a moment at which it does not hold the lock of the queue file: with that, nobody could go on."""
    while True:
        frozen = nodes.freeze_node(victim) if what == "node" else [victim.pid]
        nodes.freeze(frozen)
        if world.can_be_written():
            return frozen
        nodes.thaw(frozen)


def until_taken(world: World, victim: Node) -> None:
    until(
        lambda: victim.pid not in map(supervisor_of, world.leases()),
        within=2 * world.lease + SLACK,
        what="the other node has taken the frozen one's lease",
    )


def _pass(seconds: float) -> None:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() > end, within=seconds + 5)
