"""Celery's signals: `from celeriac.signals import task_prerun`. Who sends them is said in `docs/signals.md`.

Names and keyword arguments only: nothing is sent from here, and nothing here knows what sends it.
"""

from __future__ import annotations

from typing import Any

from .foundation.dispatch import Signal
from .foundation.suggest import did_you_mean

_OUTCOME = ("task_id", "task", "args", "kwargs")
_LOGGING = ("loglevel", "logfile", "format", "colorize")

# -- calls -------------------------------------------------------------------------------------------------------------

before_task_publish = Signal(
    ("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"), name="before_task_publish"
)
after_task_publish = Signal(("body", "headers", "exchange", "routing_key"), name="after_task_publish")
#: Long deprecated in Celery, and sent as there: after the publish.
task_sent = Signal((*_OUTCOME, "eta", "taskset"), name="task_sent")

# -- tasks -------------------------------------------------------------------------------------------------------------

task_received = Signal(("request",), name="task_received")
task_prerun = Signal(_OUTCOME, name="task_prerun")
task_postrun = Signal((*_OUTCOME, "retval", "state"), name="task_postrun")
task_success = Signal(("result", "runtime"), name="task_success")
task_retry = Signal(("request", "reason", "einfo"), name="task_retry")
task_failure = Signal(("task_id", "exception", "args", "kwargs", "traceback", "einfo"), name="task_failure")
task_internal_error = Signal(
    ("task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"), name="task_internal_error"
)
task_revoked = Signal(("request", "terminated", "signum", "expired"), name="task_revoked")
task_rejected = Signal(("message", "exc"), name="task_rejected")
task_unknown = Signal(("message", "exc", "name", "id"), name="task_unknown")

# -- workers -----------------------------------------------------------------------------------------------------------

celeryd_init = Signal(("instance", "conf", "options"), name="celeryd_init")
celeryd_after_setup = Signal(("instance", "conf"), name="celeryd_after_setup")
import_modules = Signal(name="import_modules")
worker_init = Signal(name="worker_init")
worker_before_create_process = Signal(name="worker_before_create_process")
worker_process_init = Signal(name="worker_process_init")
worker_process_shutdown = Signal(("pid", "exitcode"), name="worker_process_shutdown")
worker_ready = Signal(name="worker_ready")
worker_shutting_down = Signal(("sig", "how", "exitcode"), name="worker_shutting_down")
worker_shutdown = Signal(name="worker_shutdown")
heartbeat_sent = Signal(name="heartbeat_sent")

# -- logging -----------------------------------------------------------------------------------------------------------

setup_logging = Signal(_LOGGING, name="setup_logging")
after_setup_logger = Signal(("logger", *_LOGGING), name="after_setup_logger")
after_setup_task_logger = Signal(("logger", *_LOGGING), name="after_setup_task_logger")

# -- programs ----------------------------------------------------------------------------------------------------------

beat_init = Signal(name="beat_init")
beat_embedded_init = Signal(name="beat_embedded_init")
eventlet_pool_started = Signal(name="eventlet_pool_started")
eventlet_pool_preshutdown = Signal(name="eventlet_pool_preshutdown")
eventlet_pool_postshutdown = Signal(name="eventlet_pool_postshutdown")
eventlet_pool_apply = Signal(("target", "args", "kwargs"), name="eventlet_pool_apply")
user_preload_options = Signal(("app", "options"), name="user_preload_options")

__all__ = [  # noqa: PLE0604 - names, all of them
    *sorted(name for name, value in list(globals().items()) if isinstance(value, Signal)),
    "Signal",
]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what imports ask of every module
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise AttributeError(f"there is no signal {name!r}{did_you_mean(name, __all__)}")
