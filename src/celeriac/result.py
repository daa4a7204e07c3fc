"""Celery's `celery.result`, here. Nothing inside the package imports it."""

from __future__ import annotations

from .client.result import (
    AsyncResult,
    EagerResult,
    ResultBase,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    result_from_tuple,
)

__all__ = [
    "AsyncResult",
    "EagerResult",
    "ResultBase",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]
