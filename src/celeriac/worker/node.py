"""A node, wired: read this first. `run` is all that the command line calls.

supervisor process   upkeep (leases, due, recovery) | doorbell (waits) | its own loop (processes, signals)
  template process   has the app loaded, forks on request
    runner process   reserves, runs, settles; one for each slot
"""

from __future__ import annotations

import os
import resource
import select
import sys

import msgspec

from ..foundation import logs
from .options import WorkerOptions
from .plan import Plan
from .supervisor.board import Board
from .supervisor.process import Template

EX_FAILED = 1


def run(options: WorkerOptions) -> int:
    """Run a worker until it is told to stop. Returns the exit code: 0 stopped, 1 the app could not be loaded, 69 no
    broker, 70 runners keep dying. Celery's guide: Workers."""
    logs.utf8_streams()
    if options.workdir:
        os.chdir(options.workdir)
    if options.pool == "solo":
        from . import solo  # the whole runner, which the other kinds have in processes of their own

        return solo.run(options)
    _make_room(options.concurrency or 0)
    board = Board()
    template = Template(options, board)
    # While that process loads the app, this one loads the rest of itself: a third of the time to the first task.
    from .supervising import supervise

    plan = _hear(template)
    if plan is None:
        template.close()
        return EX_FAILED
    board.shape(plan.processes, plan.lanes)
    return supervise(options, plan, board, template, lambda: Template(options, board))


def _make_room(slots: int) -> None:
    """A line for each runner is an open file of the supervisor: raise the soft limit where many are asked for."""
    wanted = 2 * slots + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _hear(template: Template) -> Plan | None:
    """The template's plan, or None when the app could not be loaded (its traceback has been shown)."""
    while not template.line.closed:
        select.select([template.line], [], [])
        for word, more in template.line.said():
            if word == "hello":
                if more["warning"]:
                    sys.stderr.write(f"WARNING: {more['warning']}\n")
                return msgspec.convert(more["plan"], Plan)
            if word == "failed":
                sys.stderr.write(more["error"])
                return None
    sys.stderr.write("celeriac: the template process ended before the app was loaded\n")
    return None
