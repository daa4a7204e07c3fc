"""Celery's `celery.utils.dispatch`, here. Nothing inside the package imports it."""

from __future__ import annotations

from ..foundation.dispatch import Signal

__all__ = ["Signal"]
