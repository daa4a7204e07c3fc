"""How the demo shows its tasks: a table in place on a terminal, a line for each change elsewhere. It only shows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

from msgspec import Struct

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {"SUCCESS": "green", "FAILURE": "red", "RETRY": "yellow", "PROGRESS": "cyan", "PENDING": "dim"}


class Row(Struct):
    """One task as it stands."""

    call: str
    state: str = "PENDING"
    note: str = ""


class Screen(Protocol):
    """A context in which `show` may be called as often as wanted."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, rows: Sequence[Row]) -> None: ...


def screen() -> Screen:
    """The one that fits stdout."""
    return Live() if sys.stdout.isatty() else Lines()


class Lines:
    """A line whenever a task has changed."""

    def __init__(self) -> None:
        self._shown: dict[int, tuple[str, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, rows: Sequence[Row]) -> None:
        for number, row in enumerate(rows):
            if self._shown.get(number) != (row.state, row.note):
                self._shown[number] = (row.state, row.note)
                print(f"  {row.state:<8}  {row.call:<34}  {row.note}".rstrip(), flush=True)


class Live:
    """A table in place."""

    def __init__(self) -> None:
        from rich.live import Live as RichLive  # only where something is drawn

        self._live: Any = RichLive(refresh_per_second=10)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        self._live.update(_table(rows))


def _table(rows: Sequence[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("task", "state", "", box=None, padding=(0, 2))
    for row in rows:
        # Text, so that brackets in a call or a message are not taken for markup.
        table.add_row(Text(row.call), Text(row.state, style=_STYLES.get(row.state, "")), Text(row.note))
    return table
