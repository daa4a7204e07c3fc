"""Statements by name, from .sql files: `-- name: take` begins one, comments after it say what it is for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace


def statements(path: Path) -> SimpleNamespace:
    """Every statement of the file as an attribute."""
    found: dict[str, str] = {}
    for section in path.read_text(encoding="utf-8").split("-- name: ")[1:]:
        name, _, text = section.partition("\n")
        lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
        found[name.strip()] = " ".join("\n".join(lines).split()).rstrip(";")
    return SimpleNamespace(**found)
