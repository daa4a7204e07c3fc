"""Counts our own Python calls per message, from `delay` to the stored result: `python -m benchmarks.calls`.

Calls are deterministic where time is not, so a test can hold the hot path to its budget (150 at batch 16). Only
functions of the package count: not the standard library's, not C functions, not the task's body.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Self

import celeriac
from celeriac import Celery
from celeriac.worker.lines import Line
from celeriac.worker.loaded import Loaded, plan_of
from celeriac.worker.options import WorkerOptions
from celeriac.worker.runner.start import make_runner
from celeriac.worker.supervisor.board import Board


class Function(NamedTuple):
    """Where a function stands in the package."""

    file: str
    line: int
    name: str


class CallCounter:
    """Within the `with` block counts every call of a Python function whose source lies under `folder`.

    Counts the calling thread and threads started within; a generator counts once for each time it is resumed.
    """

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder.resolve()}/"
        self._codes: Counter[Any] = Counter()

    def __enter__(self) -> Self:
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(self._prefix):
            self._codes[frame.f_code] += 1

    def functions(self) -> Counter[Function]:
        """Calls by function."""
        found: Counter[Function] = Counter()
        for code, count in self._codes.items():
            file = code.co_filename.removeprefix(self._prefix)
            found[Function(file, code.co_firstlineno, code.co_qualname)] += count
        return found


class Count(NamedTuple):
    """The outcome: calls per message, and who made them."""

    per_message: float
    functions: dict[Function, float]

    @property
    def path(self) -> list[Function]:
        """The functions that every message passes."""
        return [function for function, calls in self.functions.items() if calls >= 1]

    def __str__(self) -> str:
        lines = [f"{calls:8.2f}  {where.file}:{where.line} {where.name}" for where, calls in self.functions.items()]
        files = {function.file for function in self.path}
        passed = f"{len(self.path)} functions in {len(files)} files are passed by every message"
        return "\n".join([*lines, f"{self.per_message:8.2f}  own calls per message; {passed}"])


def count(package: Path, send: Callable[[], object], work: Callable[[], object], *, batch: int, rounds: int) -> Count:
    """Call `send` `batch` times, then `work` once, `rounds` times over; what three rounds before did is not counted.

    `work` runs and settles everything that was sent.
    """

    def one_round() -> None:
        for _ in range(batch):
            send()
        work()

    for _ in range(3):
        one_round()
    with CallCounter(package) as counter:
        for _ in range(rounds):
            one_round()
    messages = batch * rounds
    functions = {function: calls / messages for function, calls in counter.functions().most_common()}
    return Count(sum(functions.values()), functions)


def hot_path(batch: int = 16, rounds: int = 50) -> Count:
    """From `delay` to the stored result on the memory broker, with the runner of a worker in this process."""
    app = Celery("budget", broker="memory://budget", backend="memory://budget", set_as_current=False)

    @app.task(name="budget.noop")
    def noop() -> None:
        """Nothing: what is counted is everything around it."""

    app.finalize()
    options = WorkerOptions()
    loaded = Loaded(app, plan_of(app, options), options, "budget@here")
    board = Board()
    board.allow(0, float("inf"))
    line, runner_line = Line.pair()
    app.broker.enlist("budget:1-a/0.1", ["celery"])
    runner = make_runner(loaded, runner_line, board, 0, "budget:1-a/0.1")
    try:
        return count(Path(celeriac.__file__).parent, noop.delay, runner.drain, batch=batch, rounds=rounds)
    finally:
        line.close()
        runner_line.close()
        board.close()
        app.close()


def main() -> None:
    """Print the count for the memory broker with the worker in this process."""
    print(hot_path())


if __name__ == "__main__":
    main()
