"""What is asked of a worker and has no effect: said at the start, not found out at night."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..execution.limits import default

if TYPE_CHECKING:
    from ..client.app import Celery
    from .options import WorkerOptions

_SETTINGS = {
    "worker_autoscaler": "no class of your own is used: --autoscale looks at backlog and run times",
    "task_routes": "calls are refused (give queue= to them or to their tasks), not routed",
    "beat_schedule": "nothing is scheduled; run stock celery beat beside it",
}

#: What has no meaning where there is one process and one slot.
_NOT_SOLO = ("worker_autoscale", "worker_max_tasks_per_child", "worker_max_memory_per_child", "worker_max_memory")


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


def unused(app: Celery, options: WorkerOptions, pool: str) -> list[str]:
    """One line for each wish that this pool, or another wish, leaves without effect."""
    conf = app.conf
    given = [f"--{name[7:].replace('_', '-')}" for name in _NOT_SOLO if conf.get(name)] if pool == "solo" else []
    if pool == "solo" and (options.concurrency or 1) > 1:
        given.append("-c")
    if options.processes and (pool == "solo" or (pool == "prefork" and conf.worker_autoscale)):
        given.append("--processes")
    lines = [f"{', '.join(given)} {'do' if len(given) > 1 else 'does'} nothing with -P {pool}"] if given else []
    if pool == "prefork" and options.processes and options.concurrency and not conf.worker_autoscale:
        lines.append("-c does nothing beside --processes with -P prefork: a process runs one task at a time")
    limits = default(conf)
    if 0 < limits.hard < limits.soft:
        lines.append(
            f"the soft time limit of {limits.soft:g} s is never told: the hard one of {limits.hard:g} s is first"
        )
    return lines
