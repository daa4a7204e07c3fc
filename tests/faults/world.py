"""One broker with its backend, the nodes on it, what was accepted, and what must hold when all is over."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from celeriac import Celery
from celeriac.brokers.base import Counts
from celeriac.errors import OperationalError
from tests.faults.journal import Account, Journal
from tests.faults.nodes import KeptNode
from tests.processes import Node, until

HERE = Path(__file__).parent
QUEUE = "celery"
#: Seconds that a look may come late on a busy machine: much beside a lease of two.
SLACK = 1.0


class World:
    """`new_node` is the fixture of that name; `lease` and `publish_timeout` (of this process) in seconds; `pool` is the
    kind of lanes that nodes run their tasks in, `strikes` how many deaths convict one."""

    def __init__(
        self,
        folder: Path,
        broker: str,
        backend: str,
        new_node: Callable[..., Node],
        rng: Random,
        *,
        lease: float = 2.0,
        publish_timeout: float = 5.0,
        pool: str = "prefork",
        strikes: int = 3,
    ) -> None:
        self.rng = rng
        self.lease = lease
        self._pool = pool
        #: All of a node in one process.
        self.solo = pool == "solo"
        self.journal = Journal(folder / "journal")
        self.environment = {
            "FAULT_BROKER": broker,
            "FAULT_BACKEND": backend,
            "FAULT_LEASE": str(lease),
            "FAULT_STRIKES": str(strikes),
            "FAULT_JOURNAL": str(self.journal.path),
        }
        self.app = Celery("faulty", broker=broker, backend=backend, set_as_current=False)
        self.app.conf.publish_timeout = publish_timeout
        self.work = self.app.task(name="faulty.awork" if pool == "asyncio" else "faulty.work")(_work)
        self.poison = self.app.task(name="faulty.poison")(_poison)
        self.account = Account(self.journal, self.settled)
        self.accepted: set[str] = set()
        #: Published without an answer: they may run, or not.
        self.uncertain: set[str] = set()
        self.kept: list[KeptNode] = []
        self._new_node = new_node
        self._nodes = 0

    # -- nodes ------------------------------------------------------------------------------------------------

    def node(self, slots: int = 2, *args: str, broker: str | None = None, backend: str | None = None) -> Node:
        """A node, not started."""
        self._nodes += 1
        elsewhere = {"FAULT_BROKER": broker, "FAULT_BACKEND": backend}
        environment = self.environment | {name: url for name, url in elsewhere.items() if url}
        options = ("-c", str(slots), "-n", f"n{self._nodes}@%h", "-P", self._pool, *args)
        return self._new_node("faulty", *options, cwd=HERE, env=environment)

    def keep(self, nodes: int = 1, slots: int = 2, *args: str, **options: Any) -> list[KeptNode]:
        """Nodes with outer restarters, consuming."""
        fresh = [KeptNode(lambda: self.node(slots, *args, **options)) for _ in range(nodes)]
        self.kept += fresh
        for kept in fresh:
            kept.start()
        return fresh

    def stop(self) -> None:
        """All kept nodes, in order."""
        for kept in self.kept:
            kept.stop()

    # -- sending ----------------------------------------------------------------------------------------------

    def load(self, count: int, longer: int = 20) -> list[float]:
        """Run times in seconds: stretches of nothing, which travel in big batches, and of 0 to 5 ms; among them some of
        0.1 to 0.4 s."""
        times: list[float] = []
        while len(times) < count:
            most = self.rng.choice((0.0, 0.005))
            times += [self.rng.uniform(0, most) for _ in range(self.rng.randint(50, 300))]
        del times[count:]
        for at in self.rng.sample(range(count), longer):
            times[at] = self.rng.uniform(0.1, 0.4)
        return times

    def send(self, times: Iterable[float]) -> list[str]:
        """Publish; all are accepted when this returns."""
        ids = [result.id for result in self.work.send_many([((seconds,), {}) for seconds in times])]
        self.accepted |= set(ids)
        return ids

    def send_one(self, seconds: float) -> None:
        """Publish; without an answer it is uncertain."""
        task_id = f"one-{len(self.accepted) + len(self.uncertain)}-{self.rng.getrandbits(40):x}"
        try:
            self.work.apply_async((seconds,), task_id=task_id)
        except OperationalError:
            self.uncertain.add(task_id)
        else:
            self.accepted.add(task_id)

    # -- looking ----------------------------------------------------------------------------------------------

    def settled(self, ids: Collection[str]) -> set[str]:
        """Those that have a result."""
        return set(self.documents(ids))

    def documents(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        listed = list(ids)
        for start in range(0, len(listed), 1000):
            documents = self.app.backend.get_many(listed[start : start + 1000])
            found |= {task_id: json.loads(document) for task_id, document in documents.items()}
        return found

    def counts(self) -> Counts:
        return self.app.broker.count([QUEUE])[QUEUE]

    def leases(self) -> dict[str, int]:
        return dict(self.app.broker.leases([QUEUE]))

    def can_be_written(self) -> bool:
        """Nobody holds the lock of the queue file. (Redis has none.)"""
        url = self.environment["FAULT_BROKER"]
        if not url.startswith("sqlite"):
            return True
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0.2, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
            return True

    def until_ended(self, count: int, within: float = 60) -> None:
        """So many bodies have come to their end."""
        until(lambda: len(self.journal.read().ends) >= count, within=within, what=f"{count} bodies have ended")

    def until_drained(self, within: float = 60) -> None:
        """All that was accepted has ended, and nothing is waiting or in flight. Says what is missing."""
        try:
            until(self._drained, within=within, what="all that was accepted has run and is settled")
        except AssertionError as error:
            missing = sorted(self.accepted - self.journal.read().ended())
            raise AssertionError(
                f"{error}: {len(missing)} of {len(self.accepted)} have not ended ({missing[:5]}), "
                f"{self.counts()}, leases {self.leases()}, held {self.held()}"
            ) from None

    def _drained(self) -> bool:
        if not self.accepted <= self.journal.read().ended():
            return False
        try:
            counts = self.counts()
        except OperationalError:  # the fault hit our own connection
            return False
        return not (counts.ready or counts.in_flight or counts.suspects or counts.quarantined or counts.delayed)

    def held(self) -> list[str]:
        """Who holds what, as the engine writes it: for messages only."""
        url = self.environment["FAULT_BROKER"]
        if not url.startswith("sqlite"):
            return []
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return [str(row[:2]) for row in connection.execute("SELECT * FROM held")]

    def until_dead_are_forgotten(self) -> None:
        """The leases of dead nodes are gone within two leases of the last death."""
        last = max((kill.at for kill in self.account.kills), default=0.0)
        living = {kept.node.pid for kept in self.kept}

        def dead() -> list[str]:
            return [lease for lease in self.leases() if supervisor_of(lease) not in living]

        within = max(0.0, last + 2 * self.lease - time.monotonic()) + SLACK
        until(lambda: not dead(), within=within, what=f"leases of the dead are gone: {dead()}")

    # -- what must hold ---------------------------------------------------------------------------------------

    def check(self, dead: Sequence[str] = (), victims: Collection[str] = ()) -> None:
        """Every accepted task ran and has its result, duplicates are excused, nothing is left anywhere.

        `dead`: ids that are expected among the dead letters, and no others. Call it after `stop`.
        """
        started = set(self.journal.read().started())
        accepted = self.accepted - set(dead)
        assert accepted <= started, f"never ran: {sorted(accepted - started)[:10]}"
        assert started <= self.accepted | self.uncertain, "ran, and was never sent"
        letters = [letter.task_id for letter in self.app.broker.dead_letters([QUEUE], 10_000)]
        assert sorted(letters) == sorted(dead), f"dead letters {letters}"
        documents = self.documents(accepted)
        unhappy = {task_id for task_id in accepted if documents.get(task_id, {}).get("status") != "SUCCESS"}
        assert not unhappy, f"{len(unhappy)} without a result: {sorted(unhappy)[:10]}"
        assert self.counts() == Counts(dead=len(dead))
        assert self.leases() == {}
        self.account.check()


def supervisor_of(consumer: str) -> int:
    """The process id in a consumer's name, `<node>:<pid>-<nonce>/<slot>.<generation>`."""
    return int(consumer.rpartition("/")[0].rpartition(":")[2].partition("-")[0])


def _work(seconds: float) -> int:
    raise NotImplementedError("runs in the nodes")


def _poison(whom: str) -> None:
    raise NotImplementedError("runs in the nodes")
