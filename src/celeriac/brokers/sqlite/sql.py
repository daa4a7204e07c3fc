"""The broker's statements, read once."""

from __future__ import annotations

from pathlib import Path

from ...drivers.sqlite import statements

SQL = statements(Path(__file__).with_name("statements.sql"))
