"""Celery's `celery.canvas`, here, as far as it goes: single calls. Nothing inside the package imports it."""

from __future__ import annotations

from .client.signature import Signature, maybe_signature, signature

subtask = signature

__all__ = ["Signature", "maybe_signature", "signature", "subtask"]
