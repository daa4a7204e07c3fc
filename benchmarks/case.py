"""One measurement's surroundings: a peer on an emptied stage, its clients, its workers, its stamps."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .peers import Peer
from .processes import Child
from .stages import Stage
from .stamps import Stamps

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Effort:
    """How much to measure."""

    #: Seconds that a rate is to be measured over.
    seconds: float = 2.5
    repeat: int = 3
    #: By what counts are multiplied.
    scale: float = 1.0

    def count(self, full: int) -> int:
        """`full` in an ordinary run, less in a quick one."""
        return max(20, int(full * self.scale))


@dataclass
class Side:
    """A peer within a row. `count` is how many tasks its drain takes; the first run corrects it."""

    peer: Peer
    count: int = 3000


@dataclass
class Case:
    """Use as a context: entering empties the stage, leaving kills every worker that is left."""

    peer: Peer
    stage: Stage
    results: bool = True
    numbered: bool = False
    _children: list[Child] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.stage.reset()
        self._temporary = tempfile.TemporaryDirectory(prefix="celeriac-bench-")
        self.directory = Path(self._temporary.name)
        self.stamps = Stamps(self.directory / "stamps", numbered=self.numbered)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            for child in self._children:
                child.kill()
            if error is not None:
                self._explain(error)
        finally:
            self._temporary.cleanup()

    def _explain(self, error: BaseException) -> None:
        """Give a failure the last words of the processes, before their logs go."""
        for child in self._children:
            if words := child.tail():
                error.add_note(words)

    def _environment(self) -> dict[str, str]:
        path = [str(ROOT), str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "BENCH_URL": self.stage.url,
            "BENCH_RESULTS": "1" if self.results else "0",
            "BENCH_STAMPS": str(self.stamps.path),
        }

    def _start(self, command: list[str], name: str) -> Child:
        log = self.directory / f"{len(self._children)}-{name}.log"
        child = Child(command, environment=self._environment(), directory=self.directory, log=log)
        self._children.append(child)
        return child

    def worker(self, slots: int = 1) -> Child:
        """Start the peer's worker."""
        return self._start(self.peer.worker(slots), "worker")

    def client(self, action: str, **options: Any) -> dict[str, float]:
        """Run an action of `client` and return its figures.

        Raises: RuntimeError if it fails or takes more than ten minutes.
        """
        command = [sys.executable, "-m", "benchmarks.client", self.peer.module, action, json.dumps(options)]
        child = self._start(command, action)
        if (status := child.wait(600)) != 0:
            raise RuntimeError(f"the client's {action} ended with status {status}")
        # Warnings share the stream: the figures are the line that looks like them.
        line = next(line for line in reversed(child.tail().splitlines()) if line.startswith("{"))
        figures: dict[str, float] = json.loads(line)
        self._children.remove(child)  # ended well: nothing to kill, nothing to tell
        return figures
