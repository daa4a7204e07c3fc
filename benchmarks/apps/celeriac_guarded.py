"""The application for celeriac with receivers of task signals connected and time limits set."""

from __future__ import annotations

from celeriac import signals

from . import bodies
from .celeriac_app import app, enqueue, send_many, trip

__all__ = ["app", "enqueue", "send_many", "trip"]

app.conf.task_soft_time_limit, app.conf.task_time_limit = 60, 120

for signal in (signals.task_prerun, signals.task_postrun, signals.task_success, signals.task_failure):
    signal.connect(bodies.hear, weak=False)
