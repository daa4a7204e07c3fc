"""How `celeriac result --follow` shows a task on its way: a bar on a terminal, a line for each news elsewhere.

All of it goes to stderr, so that stdout has the result and nothing else. It only shows.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

from ..client.following import Progress, states_of
from ..errors import TimeoutError
from ..states import READY_STATES
from .tables import harmless

if TYPE_CHECKING:
    from ..client.result import AsyncResult


class View(Protocol):
    """A context in which `show` is called with each document."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, state: str, progress: Progress | None) -> None: ...


def follow(answer: AsyncResult[Any], timeout: float | None) -> bool:
    """Show it until it ends. False: it has not ended in time."""
    with _view(answer.id) as view:
        try:
            for meta in states_of(answer, timeout):
                view.show(meta["status"], _read(meta))
        except TimeoutError:
            return False
    return True


def _read(meta: Mapping[str, Any]) -> Progress | None:
    told = Progress.read(meta)
    return None if told is None else told._replace(message=" ".join(harmless(told.message).split()))


def _view(task_id: str) -> View:
    return Bar(task_id) if sys.stderr.isatty() else Lines()


class Lines:
    """A line for each news."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, state: str, progress: Progress | None) -> None:
        line = state if progress is None else f"{state}  {_amount(progress)}  {progress.message}".rstrip()
        if line != self._last:
            self._last = line
            click.echo(line, err=True)


def _amount(progress: Progress) -> str:
    if progress.total is None:
        return f"{progress.current:g}"
    share = "" if progress.fraction is None else f" ({progress.fraction:.0%})"
    return f"{progress.current:.15g}/{progress.total:.15g}{share}"


class Bar:
    """One line in place."""

    def __init__(self, task_id: str) -> None:
        from rich.console import Console  # only where something is drawn
        from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.fields[state]}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
        )
        self._task = self._bars.add_task(task_id, total=None, state="PENDING")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, state: str, progress: Progress | None) -> None:
        if progress is not None:
            self._bars.update(
                self._task, completed=progress.current, total=progress.total, description=progress.message, state=state
            )
            return
        self._bars.update(self._task, state=state)
        if state in READY_STATES:
            self._bars.stop_task(self._task)
