"""Outcomes: how a run ended, as values. `tracer` makes them, `settling` turns them into settlements."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

from msgspec import Struct

from ..errors import Retry
from .arming import calls_bodies_itself


class Success(Struct, frozen=True):
    value: Any


class Failure(Struct, frozen=True):
    error: BaseException
    #: The text of the traceback, the user's frames only.
    traceback: str
    #: One of the task's `throws`: logged without alarm.
    expected: bool = False


class Retried(Struct, frozen=True):
    retry: Retry
    traceback: str


class Ignored(Struct, frozen=True):
    """No state is stored."""


class Rejected(Struct, frozen=True):
    reason: Any
    requeue: bool


class Revoked(Struct, frozen=True):
    """It was ended because it was revoked, by the signal of that number."""

    signal: int


Outcome = Success | Failure | Retried | Ignored | Rejected | Revoked


class ExceptionInfo:
    """What hooks get as `einfo`: the exception, its type, and the traceback as text (Celery's attribute names)."""

    def __init__(self, error: BaseException, text: str) -> None:
        self.type = type(error)
        self.exception = error
        self.traceback = text
        self.tb = error.__traceback__
        self.internal = False

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


def traceback_text(error: BaseException, skip: str) -> str:
    """The traceback from the first frame that is not in the file `skip`: the user's code, not ours."""
    tb: TracebackType | None = error.__traceback__
    while tb is not None and (tb.tb_frame.f_code.co_filename == skip or calls_bodies_itself(tb.tb_frame)):
        tb = tb.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, tb))
    except Exception as second:  # a user's __str__ may do anything; the type is still worth telling
        return f"{type(error).__name__} (its text cannot be had: {type(second).__name__})\n"
