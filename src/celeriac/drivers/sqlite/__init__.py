"""Holding a SQLite file: connection, transactions, layout, and the bell between processes."""

from __future__ import annotations

from .bell import Ear, Heard
from .database import Database, Step
from .named import statements
from .place import locate

__all__ = ["Database", "Ear", "Heard", "Step", "locate", "statements"]
