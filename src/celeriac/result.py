"""Celery's `celery.result`, here. Nothing inside the package imports it."""

from __future__ import annotations

from .client.eager_result import EagerResult
from .client.result import (
    AsyncResult,
    ResultBase,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    result_from_tuple,
)
from .client.result_set import GroupResult, ResultSet

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
]
