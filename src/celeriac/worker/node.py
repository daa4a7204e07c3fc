"""A node, wired: read this first. `run` is all that the command line calls.

supervisor process   upkeep (leases, due, recovery) | doorbell (waits) | its own loop (processes, signals)
  template process   has the app loaded, forks on request
    runner process   reserves, runs, settles; one for each slot
"""

from __future__ import annotations

import logging
import os
import select
import sys
from collections.abc import Callable

import msgspec

from ..errors import CeleriacError
from ..foundation import identifiers, logs
from . import solo
from .banner import banner, show
from .logging_setup import set_up
from .options import WorkerOptions
from .plan import Plan
from .supervisor.board import Board
from .supervisor.doorbell import Doorbell
from .supervisor.process import Template
from .supervisor.supervisor import Post, Supervisor
from .supervisor.upkeep import Events, Upkeep
from .wiring import bare_app, incarnation, open_upkeep

logger = logging.getLogger("celeriac.worker")

EX_FAILED = 1
EX_UNAVAILABLE = 69

#: Slots that a board has room for when the app decides how many there are.
_MOST_SLOTS = 1024


def run(options: WorkerOptions) -> int:
    """Run a worker until it is told to stop. Returns the exit code: 0 stopped, 1 the app could not be loaded, 69 no
    broker, 70 runners keep dying. Celery's guide: Workers."""
    logs.utf8_streams()
    if options.workdir:
        os.chdir(options.workdir)
    if options.pool == "solo":
        return solo.run(options)
    board = Board(max(options.concurrency or 0, _MOST_SLOTS))
    template = Template(options, board)
    plan = _hear(template)
    if plan is None:
        template.close()
        return EX_FAILED
    return _supervise(options, plan, board, template)


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


def _supervise(options: WorkerOptions, plan: Plan, board: Board, template: Template) -> int:
    node = identifiers.node_name(options.hostname)
    app = bare_app(plan)
    set_up(app.conf, options, redirect=False)
    if not options.quiet:
        show(banner(node, plan, "prefork"))
    try:
        broker, settler_for, conviction = open_upkeep(app, plan)
    except CeleriacError as error:
        sys.stderr.write(f"celeriac: {error}\n")
        template.close()
        return EX_UNAVAILABLE
    if options.purge:
        logger.warning("%d messages purged", broker.purge(plan.queues))
    post = Post()
    own = incarnation(node)
    supervisor = Supervisor(
        node=own,
        plan=plan,
        board=board,
        template=template,
        new_template=lambda: _again(options, board),
        post=post,
        on_ready=lambda: logger.info("%s ready.", node),
    )
    upkeep = Upkeep(
        node=own,
        broker=broker,
        settler_for=settler_for,
        queues=plan.queues,
        board=board,
        lease=plan.lease,
        max_strikes=plan.max_strikes,
        convict=conviction.convict,
        events=_posted(post, supervisor),
    )
    doorbell = Doorbell(lambda: broker.waiter(plan.queues), supervisor.wake)
    return supervisor.run(upkeep, doorbell)


def _again(options: WorkerOptions, board: Board) -> Template:
    """Another template; if the app cannot be loaded any more, its end of file says so to the supervisor."""
    template = Template(options, board)
    _hear(template)
    return template


def _posted(post: Post, supervisor: Supervisor) -> Events:
    """Upkeep's events as news for the supervisor's loop."""

    def posted(name: str) -> Callable[..., None]:
        return lambda *arguments: post.put(lambda: getattr(supervisor, name)(*arguments))

    return Events(**{name: posted(name) for name in Events.__struct_fields__})
