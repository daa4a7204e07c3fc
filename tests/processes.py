"""Real processes for the tests: started in a session of their own, watched through their log, gone at the end.

Every process carries a mark in its environment that its children inherit, so that "no process is left" is looked up in
/proc and never guessed from parents. `until` is the one place where a test waits for a state of the world.
"""

from __future__ import annotations

import os
import re
import signal as signals
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")

MARK = "CELERIAC_TEST_TREE"


def until(predicate: Callable[[], Value], *, within: float = 10.0, what: str = "") -> Value:
    """The first true value of `predicate`, asked again every few milliseconds for `within` seconds.

    Raises: AssertionError that names `what` was waited for.
    """
    deadline = time.monotonic() + within
    pause = 0.001
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within} s: {what or getattr(predicate, '__name__', predicate)}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


class Process:
    """One command and all that it starts, with stdout and stderr in one file.

    `env` is laid over the environment of the tests.
    """

    def __init__(self, command: Sequence[str], *, cwd: Path, log: Path, env: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self.cwd = cwd
        self.log = log
        self.mark = uuid.uuid4().hex
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {}), MARK: self.mark}
        self._process: subprocess.Popen[bytes] | None = None

    # -- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        assert self._process is None, "already started"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, within: float = 30.0) -> int:
        """The exit code. Raises: AssertionError, with the log, if it is still running then."""
        try:
            return self._started.wait(timeout=within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within} s:\n{self.output()}") from None

    def stop(self, within: float = 30.0, how: signals.Signals = signals.SIGTERM) -> int:
        """Ask it to end (SIGTERM: warm), and return its exit code."""
        self.signal(how)
        return self.wait(within)

    def signal(self, number: signals.Signals) -> None:
        """To the first process alone."""
        if self._started.poll() is None:
            os.kill(self._started.pid, number)

    def signal_tree(self, number: signals.Signals) -> None:
        """To every process of the tree, wherever it has moved."""
        for pid in self.members():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def kill_tree(self) -> None:
        """`kill -9` for all of them. Returns when none is left."""

        def gone() -> bool:
            self.signal_tree(signals.SIGKILL)
            return not self.members()

        until(gone, within=10, what="every process of the tree is gone")
        if self._process is not None:
            self._process.wait(timeout=10)

    # -- looking --------------------------------------------------------------------------------------------

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        return self._started.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def members(self) -> list[int]:
        """The living processes of the tree: the first one, its children, theirs, orphans included."""
        return processes_with(f"{MARK}={self.mark}".encode())

    def children(self) -> list[int]:
        """All members but the first process."""
        return [pid for pid in self.members() if pid != self.pid]

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def expect(self, pattern: str, *, within: float = 20.0, times: int = 1) -> re.Match[str]:
        """The match (the `times`-th) of a regular expression in the output, as soon as it is there.

        Raises: AssertionError with the whole output, at once if the process has ended without it.
        """
        expression = re.compile(pattern, re.MULTILINE)

        def found() -> re.Match[str] | None:
            ended = not self.alive
            matches = list(expression.finditer(self.output()))
            if len(matches) >= times:
                return matches[times - 1]
            if ended:
                raise AssertionError(f"ended with {self._started.returncode} before {pattern!r}:\n{self.output()}")
            return None

        try:
            match = until(found, within=within, what=f"{pattern!r} in the output")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None
        assert match is not None
        return match

    def memory(self) -> int:
        """Bytes that the tree takes for itself (PSS: shared pages counted once)."""
        return sum(_pss(pid) for pid in self.members())

    def assert_gone(self, within: float = 5.0) -> None:
        """No process of the tree is left; those that are, are named and killed."""
        try:
            until(lambda: not self.members(), within=within, what="every process of the tree has ended")
        except AssertionError:
            left = [f"{pid}: {command_line(pid)}" for pid in self.members()]
            self.kill_tree()
            raise AssertionError("left running: " + "; ".join(left) + "\n" + self.output()) from None


class Node(Process):
    """A real `celeriac worker`.

    `app` is what `-A` takes; `args` are further options of the command.
    """

    def __init__(
        self,
        app: str,
        *args: str,
        cwd: Path,
        log: Path,
        env: Mapping[str, str] | None = None,
        loglevel: str = "INFO",
    ) -> None:
        command = [sys.executable, "-m", "celeriac", "-A", app, "worker", "-l", loglevel, *args]
        super().__init__(command, cwd=cwd, log=log, env=env)

    def start(self, *, ready: bool = True, within: float = 20.0) -> None:
        """Start, and (with `ready`) return when it says that it consumes."""
        super().start()
        if ready:
            self.expect(r"\bready\.\s*$", within=within)


def processes_with(mark: bytes) -> list[int]:
    """Processes whose environment holds the entry `mark`. A zombie has none: it is gone in all but its exit code."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            environ = Path(entry.path, "environ").read_bytes()
        except OSError:  # ended meanwhile, or another user's
            continue
        if mark in environ.split(b"\0"):
            found.append(int(entry.name))
    return sorted(found)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "(ended)"


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
