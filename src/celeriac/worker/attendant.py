"""The attendant: the process in which receivers of a node's own signals run, for the supervisor never loads the app.

Forked from the template (or started clean, as runners are) where somebody listens, told by lines what has happened.
It holds nothing: when it hangs or dies, the node goes on without it.
"""

from __future__ import annotations

import logging
import os
import select
from typing import TYPE_CHECKING, Any

from ..foundation import logs
from . import lifecycle
from .lines import Line

if TYPE_CHECKING:
    from .loaded import Loaded

logger = logging.getLogger("celeriac.worker")


def run_attendant(app: Loaded, line: Line) -> int:
    """Until the node has ended. Returns the exit code."""
    os.setsid()
    logs.name_process("MainProcess")  # as where Celery runs such receivers
    while not line.closed:
        select.select([line], [], [])
        for word, more in line.said():
            if word == "ended":
                lifecycle.ended(app.instance)
                return 0
            _tell(app, word, more)
    return 0


def _tell(app: Loaded, word: str, more: dict[str, Any]) -> None:
    if word == "ready":
        lifecycle.ready(app.instance)
    elif word == "stopping":
        lifecycle.stopping(app.instance, more["sig"], more["how"], more["exitcode"])
    else:
        logger.error("the attendant knows no word %r", word)
