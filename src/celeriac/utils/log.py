"""Celery's `celery.utils.log`, here. Nothing inside the package imports it."""

from __future__ import annotations

from ..foundation.logs import get_task_logger

__all__ = ["get_task_logger"]
