"""Logging of a node's processes by the app's settings, and the signals with which users have a say in it.

Receivers are heard where the app is loaded: in the template, whose runners inherit what they have set up, and in each
process that starts clean or logs to a file of its own. The supervisor, which has no app, logs as the options say.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from ..client import current
from ..foundation import logs
from ..foundation.identifiers import node_name
from ..signals import after_setup_logger, after_setup_task_logger, setup_logging
from .daemon import log_path
from .lifecycle import safely
from .options import WorkerOptions


def set_up(conf: Any, options: WorkerOptions, *, redirect: bool, index: int = 0) -> None:
    """Celery's lines at the level asked for; with `redirect`, what tasks print goes to the log as well. `index` stands
    for `%i` in the log file's name: 0 in the supervisor, the number of its slot, from 1 on, in a runner."""
    global _inherited
    logfile = log_path(options, node_name(options.hostname), index)
    if _inherited == (logfile,):
        return
    _inherited = (logfile,)
    logs.utf8_streams()
    color = options.color if options.color is not None else conf.worker_log_color
    said = {
        "loglevel": logs.level_number(options.loglevel),
        "logfile": logfile,
        "colorize": logfile is None and logs.wants_color(sys.__stderr__ or sys.stderr, color),
    }
    if _left_to_receivers(said, conf):
        return
    configured = logs.setup(
        options.loglevel,
        logfile=logfile,
        color=color,
        format=conf.worker_log_format,
        task_format=conf.worker_task_log_format,
        datefmt=conf.worker_log_datefmt,
        task_datefmt=conf.worker_task_log_datefmt,
        # By default a guest: see `foundation.logs`.
        hijack=bool(conf.worker_hijack_root_logger and conf.value_set_for("worker_hijack_root_logger")),
        structured=conf.worker_log_json,
        current=_running,
    )
    safely(after_setup_logger, None, logger=logging.getLogger(), format=conf.worker_log_format, **said)
    tasks = logging.getLogger("celery.task")
    safely(after_setup_task_logger, None, logger=tasks, format=conf.worker_task_log_format, **said)
    if configured and redirect and conf.worker_redirect_stdouts:
        logs.redirect_stdouts(conf.worker_redirect_stdouts_level)


#: The log file that this process, or the one that it is a fork of, has been set up for.
_inherited: tuple[str | None] | None = None


def _left_to_receivers(said: dict[str, Any], conf: Any) -> bool:
    """Where `setup_logging` has a receiver, logging is its business alone. Raises: what it raises."""
    answers = setup_logging.send(None, format=conf.worker_log_format, **said)
    for _, answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return bool(answers)


def _running() -> tuple[str, str] | None:
    run = current.running()
    return (run.task.name, run.request.id or "") if run is not None else None
