"""Tracebacks for the user: of an error in their code, the part that is theirs."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def users_part(error: BaseException) -> str:
    """The error as Python prints it, beginning where the user's code does: what lies above is how we got there.

    An error that never reached their code (a module that does not exist) is its last line alone.
    """
    trace = error.__traceback__
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _is_ours(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return file.startswith((_OURS, "<frozen importlib")) or f"{os.sep}importlib{os.sep}" in file
