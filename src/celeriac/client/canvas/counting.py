"""Chords need an engine that counts their members in the step that settles each: here a call asks whether it can.

An engine that cannot refuses the call: a chord that is sent and never counted would be a promise that nobody keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...backends.base import Counting
from ...errors import ChordsNotCounted
from ...foundation.urls import mask

if TYPE_CHECKING:
    from ..app import Celery


def require(app: Celery) -> Counting:
    """The backend of a chord. Raises: ChordsNotCounted; NotImplementedError where there is no backend at all."""
    backend = app.backend
    if not isinstance(backend, Counting) or not app.broker.join(backend.identity, backend.location):
        where = f"{mask(str(app.broker_url))} with results in {mask(str(app.backend_url))}"
        raise ChordsNotCounted(
            f"chords cannot be counted by {where}: broker and backend must be one place, so that a member's end and "
            "its being counted are one step; apply() runs them here"
        )
    return backend


def begin(app: Celery, group_id: str, size: int) -> None:
    """Before the first member is sent: so many results complete the group."""
    require(app).begin_group(group_id, size, _seconds(app))


def _seconds(app: Celery) -> float | None:
    expires = app.conf.result_chord_expires
    expires = app.conf.result_expires if expires is None else expires
    return getattr(expires, "total_seconds", lambda: expires)() or None
