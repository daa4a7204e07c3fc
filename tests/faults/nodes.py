"""Nodes under fault: who is who in their process tree, freezing and killing all of it, and an outer restarter."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.processes import Node, until


def parent_and_state(pid: int) -> tuple[int, str]:
    """Raises: OSError when it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), fields[0]


def parent_of(pid: int) -> int:
    try:
        return parent_and_state(pid)[0]
    except OSError:
        return 0


def runners(node: Node) -> list[int]:
    """Grandchildren of the supervisor: forked from the template."""
    template = {pid for pid in node.members() if parent_of(pid) == node.pid}
    return [pid for pid in node.members() if parent_of(pid) in template]


def kill(pids: list[int]) -> None:
    """`kill -9` for all of them, as close together as it goes; returns when they are gone."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    until_dead(pids)


def until_dead(pids: list[int]) -> None:
    until(lambda: not any(_lives(pid) for pid in pids), within=10, what=f"{pids} are dead")


def freeze(pids: list[int]) -> None:
    """SIGSTOP; returns when all stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(_stands(pid) for pid in pids), what=f"{pids} stand still")


def freeze_node(node: Node) -> list[int]:
    """All of its processes, those included that it forked meanwhile."""
    frozen: list[int] = []
    while fresh := [pid for pid in node.members() if pid not in frozen]:
        freeze(fresh)
        frozen += fresh
    return frozen


def thaw(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def processor_seconds(pids: list[int]) -> float:
    """User and system time that they have used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _lives(pid: int) -> bool:
    try:
        return parent_and_state(pid)[1] not in "ZX"
    except OSError:
        return False


def _stands(pid: int) -> bool:
    """A process is as frozen as all of its threads are."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        states = [Path(f"/proc/{pid}/task/{task}/stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
    except OSError:
        return True  # gone meanwhile
    return all(state in "TtZX" for state in states)


class KeptNode:
    """A node that an outer restarter (a systemd, a Kubernetes) starts again whenever it ends."""

    def __init__(self, make: Callable[[], Node]) -> None:
        self._make = make
        self._guard = threading.Lock()
        self._stopping = False
        self._trouble: list[BaseException] = []
        self._keeper = threading.Thread(target=self._keep, name="restarter", daemon=True)
        self.node = make()
        #: How often it was started.
        self.starts = 0

    def start(self) -> None:
        """Returns when it consumes."""
        self.node.start()
        self.starts = 1
        self._keeper.start()

    def stop(self) -> None:
        """A warm shutdown. Raises: AssertionError unless it ended in order and left nothing running."""
        with self._guard:
            self._stopping = True
            node = self.node
        node.expect(r"\bready\.\s*$")
        code = node.stop()
        self._keeper.join(timeout=10)
        if self._trouble:
            raise self._trouble[0]
        assert code == 0, f"exit code {code}:\n{node.output()}"
        node.assert_gone()

    def release(self) -> None:
        """Start it no more. Whoever made the node ends it."""
        with self._guard:
            self._stopping = True

    def kill(self) -> list[int]:
        """`kill -9` of all its processes at once. Returns who they were; another one is started."""
        with self._guard:
            node = self.node
            members = node.members()
            kill(members)
        return members

    def wait_restarted(self, starts: int, within: float = 20) -> Node:
        """The node of that start, when it consumes."""
        until(lambda: self.starts >= starts, within=within, what=f"start {starts}")
        node = self.node
        node.expect(r"\bready\.\s*$", within=within)
        return node

    def _keep(self) -> None:
        try:
            while True:
                while self.node.alive:
                    time.sleep(0.02)
                # Nothing of the dead node may go on beside its successor.
                self.node.assert_gone()
                with self._guard:
                    if self._stopping:
                        return
                    self.node = self._make()
                    self.node.start(ready=False)
                    self.starts += 1
        except BaseException as error:
            self._trouble.append(error)
