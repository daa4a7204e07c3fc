"""Rows as aligned text: readable on a terminal, and one record a line for grep and awk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from ..errors import CeleriacError
from ..wire import envelope
from ..wire.message import Message


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; the last one takes the rest of the line. Cells are kept to one line."""
    cells = [[_cell(value) for value in row] for row in (heads, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        click.echo("  ".join([*padded, row[-1]]).rstrip())


def when(seconds: float) -> str:
    """An instant in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def readable(payload: bytes) -> Message | None:
    """The message in an envelope, or None where it does not decode."""
    try:
        return envelope.decode(payload)
    except CeleriacError:
        return None


def harmless(text: str) -> str:
    """Text from a message for a terminal: control characters are shown, not obeyed; line feeds and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def _cell(value: object) -> str:
    return harmless(" ".join(str(value).split())) or "-"
