"""`celeriac demo`: a small real app and a real worker in a temporary folder, and what became of its tasks.

`shop` is the app (copied into that folder), `story` sends its tasks and judges the end, `screen` shows them.
"""

from __future__ import annotations

from pathlib import Path

import click

from ..params import app_options
from .story import play

__all__ = ["demo"]


@click.command()
@app_options
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), help="Put it here instead of a new folder.")
def demo(folder: Path | None) -> int:
    """See it work in ten seconds: a small app and a worker on the embedded queue, with no server."""
    return play(folder)
