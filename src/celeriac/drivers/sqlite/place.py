"""Which file and options a `sqlite://` URL names. Opens nothing.

sqlite://                    the embedded queue of the app (`foundation.home`)
sqlite:///relative.db        relative to the working directory
sqlite:////absolute/path.db
…?synchronous=FULL           FULL survives power loss, NORMAL (default) any crash of processes, OFF is for tests
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ImproperlyConfigured
from ...foundation.home import embedded_path
from ...foundation.urls import parse
from .database import Database, database

_OPTIONS = {"synchronous"}


def locate(url: str, options: Mapping[str, Any]) -> Database:
    """The file of this URL, not yet opened. `options`: `main_file` (for `sqlite://`) and `synchronous`.

    Raises: ImproperlyConfigured for a URL that names no file, and for options that do not exist.
    """
    parts = parse(url if "://" in url else f"{url}://")
    unknown = parts.query.keys() - _OPTIONS
    if unknown:
        raise ImproperlyConfigured(
            f"sqlite: no option {min(unknown)!r} in the URL; known: {', '.join(sorted(_OPTIONS))}"
        )
    if parts.host:
        raise ImproperlyConfigured(
            f"sqlite: a path begins after three slashes: sqlite:///{parts.host} is relative, "
            f"sqlite:////{parts.host} absolute"
        )
    if parts.path == ":memory:":
        raise ImproperlyConfigured(
            "sqlite: no other process sees :memory:; use memory:// for a queue inside one process"
        )
    path = Path(parts.path).expanduser() if parts.path else embedded_path(options.get("main_file"))
    return database(path, str(parts.query.get("synchronous", options.get("synchronous", "NORMAL"))))
