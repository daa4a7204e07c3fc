"""Celery's `celery.utils`, here: the few names that user code takes from it. Nothing inside the package imports it."""

from __future__ import annotations

from ..foundation.identifiers import uuid4_text as gen_unique_id
from ..foundation.identifiers import uuid4_text as uuid

__all__ = ["gen_unique_id", "uuid"]
