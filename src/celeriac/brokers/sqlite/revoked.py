"""Revocations in the SQLite file. Every turn reads the newest revision beside the leases (statement `leased`)."""

from __future__ import annotations

from collections.abc import Sequence

from ...drivers.sqlite import Step
from ..bounds import Bounds
from ..revocation import Revocation, named, read
from .sql import SQL

_TALLY = "revoked"


def revoke(step: Step, entries: Sequence[Revocation], bounds: Bounds, now: float) -> int:
    """Store them, forget the oldest beyond the bounds. Returns the newest revision."""
    revision, added = _newest(step), 0
    for name, stored in named(entries).items():
        revision = max(revision + 1, int(now * 1e6))
        added += 1 - step.execute(SQL.unrevoke, (name,)).rowcount
        step.execute(SQL.revoke, (revision, name, stored))
    added -= step.execute(SQL.outdated, (_oldest(bounds, now),)).rowcount
    surplus = _tally(step, added) - bounds.revokes_max
    if surplus > 0:
        _tally(step, -step.execute(SQL.surplus, (surplus,)).rowcount)
    return revision


def revocations(step: Step, since: int, bounds: Bounds, now: float) -> tuple[int, list[Revocation]]:
    newest = _newest(step)
    low = max(since if since <= newest else 0, _oldest(bounds, now))
    return newest, [read(entry, revision) for revision, entry in step.execute(SQL.revocations, (low,))]


def _newest(step: Step) -> int:
    return step.execute(SQL.newest_revision).fetchone()[0] or 0


def _oldest(bounds: Bounds, now: float) -> int:
    return int((now - bounds.revokes_expire) * 1e6)


def _tally(step: Step, change: int) -> int:
    total: int = step.execute(SQL.tally, (_TALLY, change)).fetchone()[0]
    return total
