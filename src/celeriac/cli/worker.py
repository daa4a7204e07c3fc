"""`celeriac worker`: reads the options and runs one node. Names and meanings are Celery's (guide: Workers).

What Celery's worker can do and this one cannot yet is refused by name. What is so here in any case is accepted and
does nothing: `-O`, `--without-gossip|mingle|heartbeat`, `--heartbeat-interval`, `-E`.
"""

from __future__ import annotations

from typing import Any

import click

from ..foundation.logs import level_number
from ..worker.options import WorkerOptions
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
    """How tasks run; Celery's other pools are known and refused."""
    pool = {"processes": "prefork"}.get(value, value)
    if pool in ("threads", "gevent", "eventlet", "asyncio"):
        raise click.BadParameter(f"{pool} {_LATER}; choose prefork or solo")
    if pool not in ("prefork", "solo"):
        raise click.BadParameter(f"{pool!r} is no pool; choose prefork or solo")
    return pool


@click.command()
@app_options
@click.option("-n", "--hostname", metavar="NAME", help="Name of the node: name@%h, %h host, %n name, %d domain.")
@click.option(
    "-l", "--loglevel", type=_level, metavar="LEVEL", default="WARNING", show_default=True, help="What to log."
)
@click.option("-f", "--logfile", metavar="PATH", help="Log to a file instead of stderr.")
@click.option(
    "-c", "--concurrency", type=click.IntRange(0), metavar="N", help="Tasks at a time; default: one per processor."
)
@click.option(
    "-P",
    "--pool",
    type=_pool,
    metavar="prefork|solo",
    help="Where tasks run: processes of their own, or (solo) all in one.",
)
@click.option(
    "-Q", "--queues", type=comma_list, default="", metavar="A,B", help="Queues to consume; default: all configured."
)
@click.option("-X", "--exclude-queues", type=comma_list, default="", metavar="A,B", help="Queues not to consume.")
@click.option("-I", "--include", type=comma_list, default="", metavar="A,B", help="More modules to import.")
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
@refused("-D", "--detach", flag=True, why=f"{_LATER}: run it under systemd, supervisor or a container")
@refused("--pidfile", why=f"{_LATER}: a service manager knows the process id")
@refused("--uid", why=f"{_LATER}: start it as that user")
@refused("--gid", why=f"{_LATER}: start it as that group")
@refused("--umask", why=f"{_LATER}: set it before the start")
@refused("--executable", why="is not supported: start it with that Python")
@refused("-S", "--statedb", why=f"{_LATER}, with revoked tasks kept in the broker")
@refused("-B", "--beat", flag=True, why=f"{_LATER}, with the scheduler")
@refused("-s", "--schedule-filename", "--schedule", why=f"{_LATER}, with the scheduler")
@refused("--scheduler", why=f"{_LATER}, with the scheduler")
@refused("--autoscale", why=f"{_LATER}: choose a fixed number with -c")
@setting("worker_disable_prefetch", "--disable-prefetch", is_flag=True, default=None, help="Reserve nothing ahead.")
@refused("--time-limit", why=_LATER)
@refused("--soft-time-limit", why=_LATER)
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
    options = WorkerOptions(
        app=session.app_text,
        workdir=session.workdir,
        loglevel=given["loglevel"],
        logfile=given["logfile"],
        hostname=given["hostname"],
        concurrency=given["concurrency"] or None,
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
        settings=settings,
    )
    from ..worker.node import run  # not for `--help`

    return run(options)
