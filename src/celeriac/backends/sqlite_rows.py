"""What the parts of the SQLite backend share: its statements, and how an id stands in a row."""

from __future__ import annotations

from pathlib import Path

from ..drivers.sqlite import statements

SQL = statements(Path(__file__).with_name("sqlite.sql"))


def key(task_id: str) -> bytes | str:
    """A UUID as its 16 bytes: the index is half as large. Any other id as it is; no two ids share a key."""
    if (
        len(task_id) == 36
        and task_id[8] == task_id[13] == task_id[18] == task_id[23] == "-"
        and not _has_upper(task_id)
    ):
        try:
            packed = bytes.fromhex(task_id.replace("-", ""))
        except ValueError:
            return task_id
        if len(packed) == 16:
            return packed
    return task_id


def _has_upper(text: str) -> bool:
    return text != text.lower()


def text(key: bytes | str) -> str:
    """The inverse."""
    if isinstance(key, str):
        return key
    digits = key.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
