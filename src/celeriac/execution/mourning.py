"""Mourning: the hooks of a run whose process was ended under it, called in another runner.

What is stored and published was the supervisor's (`worker.conviction`), which has none of the app's code: here are
`on_failure`, `after_return` and errbacks that take objects. (Its signals are sent by the attendant.) Best effort: told
once, to whichever runner is there; what they raise changes nothing.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..client import current
from ..client.request import Context
from ..errors import CeleriacError, TimeLimitExceeded, WorkerLostError
from ..wire import envelope, protocol1, protocol2
from . import follow_up
from .outcome import Failure, Outcome, Revoked
from .tracer import Tracer

if TYPE_CHECKING:
    from ..client.app import Celery

logger = logging.getLogger("celery.worker.request")


class Mourner:
    """For the tasks of one app; `accept` is what may be read."""

    def __init__(self, app: Celery, tracer: Tracer, accept: frozenset[str], hostname: str) -> None:
        self._app = app
        self._tracer = tracer
        self._accept = accept
        self._hostname = hostname

    def mourn(self, payload: str, kind: str, value: Any) -> None:
        """`payload` in base64; `kind` and `value` as `told` makes them. Never raises."""
        try:
            request = self._request(base64.b64decode(payload))
            task = self._app.tasks.get(str(request.get("task")))
        except CeleriacError as error:
            logger.warning("hooks of a task that was ended are not called: %s", error)
            return
        if task is None:
            return
        outcome = _outcome(kind, value)
        token = current.push(task, request)
        try:
            calls: tuple[Callable[[], Any], ...] = ()
            if request.errbacks and isinstance(outcome, Failure):
                calls = tuple(follow_up.on_failure(self._app, request, outcome.error, outcome.traceback)[1])
            self._tracer.mourn(task, request, outcome, calls)
        except Exception:
            logger.exception("Task %s[%s]: its hooks could not be called", task.name, request.id)
        finally:
            current.pop(token)

    def _request(self, payload: bytes) -> Context:
        message = envelope.decode(payload)
        if "task" not in message.headers:
            message = protocol1.to_protocol2(message, self._accept)
        return Context.from_message(message, *protocol2.read_body(message, self._accept), hostname=self._hostname)


def _outcome(kind: str, value: Any) -> Outcome:
    if kind == "terminated":
        return Revoked(int(value))
    error = TimeLimitExceeded(value) if kind == "timeout" else WorkerLostError(value)
    return Failure(error, f"{error!r}")
