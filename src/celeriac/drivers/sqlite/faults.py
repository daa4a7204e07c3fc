"""From sqlite3's errors to ours, each with a text that says what to do. Retrying is `database`'s business."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...errors import BackendError, CeleriacError, LayoutError, OperationalError

_PRIMARY = 0xFF
#: Codes after which the connection is not worth keeping.
_BROKEN = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}


def _code(error: sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & _PRIMARY


def is_busy(error: sqlite3.Error) -> bool:
    """Another process is in the way: trying again is right."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def breaks_connection(error: sqlite3.Error) -> bool:
    return _code(error) in _BROKEN


def busy(path: Path, seconds: float) -> OperationalError:
    return OperationalError(
        f"The queue file {path} was locked by another process for {seconds:.1f} s: nothing was written. Look for a "
        f"program that holds a transaction open on it (a database browser, a backup), or allow a longer timeout"
    )


def explain(error: sqlite3.Error, path: Path) -> CeleriacError:
    """Our error for one of sqlite3's; the transaction it happened in has left no trace."""
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return OperationalError(
            f"No space left for the queue file {path}: nothing of this step was stored, nothing stored earlier is "
            f"lost. Free space on that disk, or set CELERIAC_HOME to a folder on another one"
        )
    if code == sqlite3.SQLITE_NOTADB:
        return LayoutError(f"{path} is not a SQLite database: give another path, or move that file away")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return OperationalError(f"The queue file {path} cannot be written: {error}. Check its owner and its folder's")
    if code == sqlite3.SQLITE_CANTOPEN:
        return OperationalError(f"The queue file {path} cannot be opened: {error}. May its folder be written?")
    if code == sqlite3.SQLITE_CORRUPT:
        return OperationalError(
            f"The queue file {path} is damaged: {error}. Save a copy, then try `sqlite3 FILE .recover`"
        )
    if isinstance(error, sqlite3.OperationalError):
        return OperationalError(f"The queue file {path} failed: {error}")
    return BackendError(f"The queue file {path} refused: {error}")
