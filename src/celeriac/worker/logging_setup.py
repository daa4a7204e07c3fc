"""Logging of a node's processes by the app's settings. Called once in each of them."""

from __future__ import annotations

from typing import Any

from ..client import current
from ..foundation import logs
from .options import WorkerOptions


def set_up(conf: Any, options: WorkerOptions, *, redirect: bool) -> None:
    """Celery's lines at the level asked for; with `redirect`, what tasks print goes to the log as well."""
    logs.utf8_streams()
    configured = logs.setup(
        options.loglevel,
        logfile=options.logfile,
        color=options.color if options.color is not None else conf.worker_log_color,
        format=conf.worker_log_format,
        task_format=conf.worker_task_log_format,
        datefmt=conf.worker_log_datefmt,
        task_datefmt=conf.worker_task_log_datefmt,
        current=_running,
    )
    if configured and redirect and conf.worker_redirect_stdouts:
        logs.redirect_stdouts(conf.worker_redirect_stdouts_level)


def _running() -> tuple[str, str] | None:
    run = current.running()
    return (run.task.name, run.request.id or "") if run is not None else None
