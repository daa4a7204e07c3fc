"""Child processes that never outlive the run, and what `/proc` says of them. Knows no queue and no peer.

Every child leads a session of its own, so that it and all its descendants are found and ended by pid, whatever becomes
of the middle of the tree; the kernel ends the child itself if this process is killed (`PR_SET_PDEATHSIG`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One line of the process table."""

    pid: int
    parent: int
    session: int
    cpu: float  # seconds used so far, user and system


def process_table() -> Iterator[Process]:
    """Every process that is not a zombie."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            # The command's name may hold blanks and brackets: what follows the last bracket is regular.
            fields = Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if fields[0] != "Z":
            cpu = (int(fields[11]) + int(fields[12])) / _TICKS
            yield Process(int(name), int(fields[1]), int(fields[3]), cpu)


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A process started by a measurement; leaving the `with` block kills it and its whole tree."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str], directory: Path, log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            #: Seconds on the monotonic clock just before the start.
            self.started = time.monotonic()
            self._popen = subprocess.Popen(
                list(command),
                env=dict(environment),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has one thread
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def wait(self, timeout: float) -> int:
        """The exit status. Raises: subprocess.TimeoutExpired after `timeout` seconds."""
        return self._popen.wait(timeout)

    def tree(self) -> list[Process]:
        """The process and everything it started: its session, and descendants that made sessions of their own."""
        table = list(process_table())
        leader = self._popen.pid
        members = {process.pid for process in table if process.session == leader}
        growing = True
        while growing:
            found = {process.pid for process in table if process.parent in members} - members
            members |= found
            growing = bool(found)
        return [process for process in table if process.pid in members]

    def kill(self) -> None:
        """SIGKILL to the whole tree, until nothing of it is left."""
        deadline = time.monotonic() + 10
        while members := self.tree():
            for process in members:
                try:
                    os.kill(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._popen.poll()  # reap, or the leader stays a zombie that holds its session
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes that do not end: {[process.pid for process in members]}")
            time.sleep(0.005)
        self._popen.wait(5)

    def stop(self, grace: float) -> None:
        """SIGTERM, `grace` seconds to end by itself, then `kill`."""
        self._popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(grace)
        self.kill()

    def pss(self) -> float:
        """Proportional set size of the tree, in MB (2^20 bytes)."""
        return sum(_pss(process.pid) for process in self.tree()) / 1024

    def cpu(self) -> float:
        """Seconds of processor time that the living part of the tree has used."""
        return sum(process.cpu for process in self.tree())

    def tail(self, lines: int = 12) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _pss(pid: int) -> int:
    """In units of 1,024 bytes, which the kernel calls kB; 0 for a process that ended meanwhile."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
