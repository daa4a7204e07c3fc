"""What an app asks of its worker that this version does not do: said at the start, not found out at night."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..client.app import Celery

_SETTINGS = {
    "worker_autoscaler": "no class of your own is used: --autoscale looks at backlog and run times",
    "beat_schedule": "nothing is scheduled; run stock celery beat beside it",
}


def not_done(app: Celery) -> list[str]:
    """One line for each promise that the app's settings and tasks hold and this version cannot keep."""
    conf = app.conf
    lines = [
        f"{name}: {what} by this version"
        for name, what in _SETTINGS.items()
        if conf.get(name) and conf.value_set_for(name)
    ]
    lost = sorted(name for name, task in app.tasks.items() if task.dead_letter and task.acks_late is False)
    if lost:
        lines.append(f"dead_letter of {', '.join(lost[:5])}: nothing is kept with acks_late=False")
    return lines
