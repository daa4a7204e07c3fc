"""The attendant: the process in which receivers of a node's own signals run, for the supervisor never loads the app.

Forked from the template (or started clean, as runners are) where somebody listens, told by lines what has happened.
It holds nothing: when it hangs or dies, the node goes on without it.
"""

from __future__ import annotations

import base64
import logging
import os
import select
from typing import TYPE_CHECKING, Any

from ..client.request import Context
from ..errors import CeleriacError, TimeLimitExceeded, WorkerLostError
from ..execution import telling
from ..foundation import logs
from ..wire import envelope, protocol1, protocol2, serializers
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
    elif word in ("failed", "revoked"):
        try:
            _tell_of(app, word, more)
        except Exception:
            logger.exception("a run that ended with its process cannot be told of")
    else:
        logger.error("the attendant knows no word %r", word)


def _tell_of(app: Loaded, word: str, more: dict[str, Any]) -> None:
    """What the supervisor has judged, in the words of Celery's signals."""
    message = envelope.decode(base64.b64decode(more["payload"]))
    accept = serializers.content_types(app.app.conf.accept_content or ())
    if "task" not in message.headers:
        message = protocol1.to_protocol2(message, accept)
    task = app.app.tasks.get(message.headers["task"])
    if task is None:
        return
    try:
        call = protocol2.read_body(message, accept)
    except CeleriacError:  # of a long message only its head has come
        call = ([], {}, protocol2.embed())
    request = Context.from_message(message, *call, hostname=app.hostname)
    if word == "revoked":
        telling.revoked(task, request, terminated=True, signum=more["signum"])
    else:
        error = _ERRORS.get(more["error"], CeleriacError)(*more["args"])
        telling.failed(task, request, error, f"{error!r}")


_ERRORS: dict[str, type[Exception]] = {"WorkerLostError": WorkerLostError, "TimeLimitExceeded": TimeLimitExceeded}
