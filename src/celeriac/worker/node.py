"""A node, wired: read this first. `run` is all that the command line calls.

supervisor process   upkeep (leases, due, recovery) | doorbell (waits) | its own loop (processes, signals)
  template process   has the app loaded, forks on request
    runner process   reserves, runs, settles; one for each slot
"""

from __future__ import annotations

import resource
import select
import signal
import sys

import msgspec

from ..foundation import logs
from . import daemon, health
from .options import WorkerOptions
from .plan import Plan
from .supervisor.board import Board
from .supervisor.process import Template

EX_FAILED = 1


def run(options: WorkerOptions) -> int:
    """Run a worker until it is told to stop. Returns the exit code: 0 stopped, 1 the app could not be loaded, or ended
    by force, 69 no broker, 70 runners keep dying, 71 health's port is taken, 73 the pidfile is, or a file cannot be
    written, 77 user or group cannot be had. Celery's guide: Workers."""
    logs.fill_closed_streams()
    logs.utf8_streams()
    code = EX_FAILED
    try:
        station = daemon.settle_in(options)
    except daemon.Refused as error:
        text = str(error)
        sys.stderr.write(f"{text}\n" if text.startswith("ERROR") else f"celeriac: {text}\n")
        return error.code
    if options.pool != "solo":
        for number in (signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, _stop_early)
    try:
        code = _run(options, station)
    except StoppedEarly:
        code = 0  # nothing was held yet; what was started ends with this process
    finally:
        station.leave(code)
    return code


class StoppedEarly(BaseException):
    """Asked to stop before the supervisor listens. Without a handler process 1 of a container would not hear it."""


def _stop_early(number: int, frame: object) -> None:
    raise StoppedEarly


def _run(options: WorkerOptions, station: daemon.Station) -> int:
    try:
        door = None if options.health_port is None else health.listen(options.health_host, options.health_port)
    except health.PortTaken as error:
        sys.stderr.write(f"celeriac: {error}\n")
        return health.EX_OSERR
    if options.pool == "solo":
        from . import solo  # the whole runner, which the other kinds have in processes of their own

        return solo.run(options, station, door)
    _make_room(options.concurrency or 0)
    board = Board()
    template = Template(options, board)
    # While that process loads the app, this one loads the rest of itself: a third of the time to the first task.
    from .services import Services
    from .supervising import supervise

    services = Services(options, station, door)
    heard = _hear(template)
    if heard is None:
        template.close()
        return EX_FAILED
    plan, files = heard
    if (most := _too_many(plan.processes)) is not None:
        sys.stderr.write(f"celeriac: {plan.processes} processes are more than {most} open files allow (ulimit -n)\n")
        template.close()
        return EX_FAILED
    board.shape(plan.processes, plan.desks)
    services.watch(files)
    return supervise(options, plan, board, template, lambda: Template(options, board), services)


def _make_room(slots: int) -> None:
    """A line for each runner is an open file of the supervisor: raise the soft limit where many are asked for."""
    wanted = 2 * slots + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _too_many(processes: int) -> int | None:
    """The limit of open files where it is too low for a line to each process."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most if resource.RLIM_INFINITY != most < processes + 64 else None


def _hear(template: Template) -> tuple[Plan, list[str]] | None:
    """The template's plan, and with `--reload` the app's source files; or None when the app could not be loaded (its
    traceback has been shown)."""
    while not template.line.closed:
        select.select([template.line], [], [])
        for word, more in template.line.said():
            if word == "hello":
                if more["warning"]:
                    sys.stderr.write(f"WARNING: {more['warning']}\n")
                return msgspec.convert(more["plan"], Plan), more["files"]
            if word == "failed":
                sys.stderr.write(more["error"])
                return None
    sys.stderr.write("celeriac: the template process ended before the app was loaded\n")
    return None
