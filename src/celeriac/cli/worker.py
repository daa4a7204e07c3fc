"""`celeriac worker`: reads the options and runs one node. Names and meanings are Celery's (guide: Workers).

What Celery's worker can do and this one cannot yet is refused by name. What is so here in any case is accepted and
does nothing: `-O`, `--without-gossip|mingle|heartbeat`, `--heartbeat-interval`, `-E`.
"""

from __future__ import annotations

from typing import Any

import click

from ..errors import ImproperlyConfigured
from ..foundation.logs import level_number
from ..worker.options import WorkerOptions
from ..worker.plan import pool_named
from ..worker.size import autoscale_of, size
from .params import app_options, comma_list, ignored, refused, setting, settings_of
from .session import Session

_LATER = "comes with a later version"


def _level(value: str) -> str:
    """A level by name, any case, or number."""
    try:
        level_number(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value.strip().upper()


def _pool(value: str) -> str:
    """How tasks run."""
    try:
        return pool_named(value)
    except ImproperlyConfigured as error:
        raise click.BadParameter(str(error)) from None


def _concurrency(value: str) -> int | str | None:
    """A number, `auto`, or (0) as configured."""
    text = value.strip().lower()
    if text != "auto" and not text.isdigit():
        raise click.BadParameter(f"{value!r} is neither a number nor auto")
    return text if text == "auto" else int(text) or None


def _autoscale(value: str) -> str:
    try:
        autoscale_of(value)
    except ImproperlyConfigured as error:
        raise click.BadParameter(str(error)) from None
    return value


def _size(value: str) -> str:
    try:
        size(value, lambda: 1)
    except ImproperlyConfigured as error:
        raise click.BadParameter(str(error)) from None
    return value


def _umask(value: str) -> str:
    """Octal with a leading zero, else decimal: Celery's reading."""
    try:
        int(value, 8 if value.startswith("0") else 10)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no umask; write it such as 027") from None
    return value


@click.command()
@app_options
@click.option("-n", "--hostname", metavar="NAME", help="Name of the node: name@%h, %h host, %n name, %d domain.")
@click.option(
    "-l", "--loglevel", type=_level, metavar="LEVEL", default="WARNING", show_default=True, help="What to log."
)
@click.option("-f", "--logfile", metavar="PATH", help="Log to a file instead of stderr.")
@setting(
    "worker_log_json",
    "--log-format",
    type=click.Choice(["text", "json"]),
    callback=lambda _ctx, _param, value: None if value is None else value == "json",
    help="Lines for people, or a JSON object each.",
)
@click.option(
    "-c", "--concurrency", type=_concurrency, metavar="N|auto", help="Tasks at a time; default: one per processor."
)
@click.option(
    "-P",
    "--pool",
    type=_pool,
    metavar="POOL",
    help="Where tasks run: prefork (a process each), threads, asyncio, gevent, eventlet, or solo (all in one process).",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    metavar="P",
    help="Processes of threads, asyncio, gevent or eventlet, with -c tasks at a time in each.  [default: 1]",
)
@click.option(
    "-Q", "--queues", type=comma_list, default="", metavar="A,B", help="Queues to consume; default: all configured."
)
@click.option("-X", "--exclude-queues", type=comma_list, default="", metavar="A,B", help="Queues not to consume.")
@click.option("-I", "--include", type=comma_list, default="", metavar="A,B", help="More modules to import.")
@click.option("-D", "--detach", is_flag=True, help="Run in the background; returns when the worker is ready.")
@click.option("--pidfile", metavar="PATH", help="Write the process id there; refuses to start where one runs.")
@click.option("--uid", metavar="USER", help="Become this user.")
@click.option("--gid", metavar="GROUP", help="Become this group.")
@click.option("--umask", type=_umask, metavar="MASK", help="For files that are made; octal with a leading zero.")
@click.option("--executable", metavar="PATH", help="Run in this Python.")
@click.option("--reload", is_flag=True, help="Load the app anew when its source changes (development).")
@click.option("--health-port", type=click.IntRange(0, 65535), metavar="N", help="Serve /healthz and /readyz there.")
@click.option("--health-host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="On this address.")
@click.option("--purge", "--discard", is_flag=True, help="First delete all messages that wait in the queues.")
@setting(
    "worker_prefetch_multiplier",
    "--prefetch-multiplier",
    type=click.IntRange(0),
    metavar="N",
    help="Most messages a slot reserves; 0: no bound. Default: by measured run times.",
)
@ignored("-O", "--optimization", type=click.Choice(["default", "fair"]))
@ignored("-E", "--task-events", "--events", flag=True)
@ignored("--without-gossip", flag=True)
@ignored("--without-mingle", flag=True)
@ignored("--without-heartbeat", flag=True)
@ignored("--heartbeat-interval", type=int)
@ignored("-S", "--statedb", type=str)
@refused("-B", "--beat", flag=True, why=f"{_LATER}, with the scheduler")
@refused("-s", "--schedule-filename", "--schedule", why=f"{_LATER}, with the scheduler")
@refused("--scheduler", why=f"{_LATER}, with the scheduler")
@setting(
    "worker_autoscale",
    "--autoscale",
    type=_autoscale,
    metavar="MOST,LEAST",
    help="As many slots as the backlog needs, between these numbers.",
)
@setting(
    "worker_max_memory",
    "--max-memory",
    type=_size,
    metavar="SIZE",
    help="Reserve nothing while the node takes more: 500M, 2G, 80% of what it may take.",
)
@setting("worker_disable_prefetch", "--disable-prefetch", is_flag=True, default=None, help="Reserve nothing ahead.")
@setting(
    "task_time_limit",
    "--time-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Kill a task that runs longer.",
)
@setting(
    "task_soft_time_limit",
    "--soft-time-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Raise in it.",
)
@setting(
    "worker_max_tasks_per_child",
    "--max-tasks-per-child",
    "--maxtasksperchild",
    type=click.IntRange(1),
    metavar="N",
    help="Replace a process after so many tasks.",
)
@setting(
    "worker_max_memory_per_child",
    "--max-memory-per-child",
    "--maxmemperchild",
    type=click.IntRange(1),
    metavar="KB",
    help="Replace a process that takes more kilobytes than this after a task.",
)
@setting(
    "worker_pool_start_method",
    "--pool-start-method",
    type=click.Choice(["fork", "spawn", "forkserver"]),
    help="How processes start; default: whichever is sound.",
)
@click.pass_obj
def worker(session: Session, /, **given: Any) -> int:
    """Run tasks until SIGTERM or Ctrl-C (finishes what runs) or SIGQUIT (hands it back)."""
    if not session.app_text:
        raise click.UsageError("name your application with -A: celeriac -A proj worker")
    settings = settings_of(given)
    if given["concurrency"] == "auto":
        settings["worker_concurrency"] = "auto"
    options = WorkerOptions(
        app=session.app_text,
        workdir=session.workdir,
        loglevel=given["loglevel"],
        logfile=given["logfile"],
        hostname=given["hostname"],
        concurrency=given["concurrency"] if isinstance(given["concurrency"], int) else None,
        processes=given["processes"],
        queues=given["queues"],
        exclude=given["exclude_queues"],
        pool=given["pool"],
        broker=session.broker,
        backend=session.backend,
        config=session.config,
        include=given["include"],
        purge=given["purge"],
        quiet=session.quiet,
        color=False if session.no_color else None,
        detach=given["detach"],
        pidfile=given["pidfile"],
        uid=given["uid"],
        gid=given["gid"],
        umask=given["umask"],
        executable=given["executable"],
        reload=given["reload"],
        health_port=given["health_port"],
        health_host=given["health_host"],
        settings=settings,
    )
    from ..worker.node import run  # not for `--help`

    return run(options)
