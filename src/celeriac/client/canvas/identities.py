"""Ids for what is called: random ones; or, where a run is being settled, derived from that run, so that a run that is
repeated after a crash causes the same messages again and not others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count

from ...foundation.identifiers import uuid4_text

_NAMESPACE = uuid.UUID("5e1e71ac-0000-4000-8000-000000000002")

_derived: ContextVar[Iterator[str] | None] = ContextVar("celeriac_derived_ids", default=None)


def fresh_id() -> str:
    """An id that nothing has yet."""
    source = _derived.get()
    return uuid4_text() if source is None else next(source)


@contextmanager
def derived_from(seed: str) -> Iterator[None]:
    """Inside of it `fresh_id` gives the same ids each time, for the same seed."""
    token = _derived.set(str(uuid.uuid5(_NAMESPACE, f"{seed}:{number}")) for number in count())
    try:
        yield
    finally:
        _derived.reset(token)
