"""The SQLite broker, the embedded default: no server, several processes of one machine on one file."""

from __future__ import annotations

from ..base import Opened
from .broker import SQLiteBroker


def factory(opened: Opened) -> SQLiteBroker:
    """See `registry`."""
    return SQLiteBroker(opened)
