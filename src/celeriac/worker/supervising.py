"""The supervisor process, wired: who is made of what, and who tells whom. `node` has started the template before."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from ..errors import CeleriacError
from ..foundation import identifiers
from .banner import banner, show
from .logging_setup import set_up
from .options import WorkerOptions
from .plan import Plan
from .services import Services
from .supervisor.attendance import Attendance
from .supervisor.board import Board
from .supervisor.doorbell import Doorbell
from .supervisor.post import Post
from .supervisor.process import Template
from .supervisor.supervisor import Supervisor
from .supervisor.upkeep import Events, Upkeep
from .wiring import bare_app, incarnation, open_upkeep

logger = logging.getLogger("celeriac.worker")

EX_UNAVAILABLE = 69


def supervise(
    options: WorkerOptions,
    plan: Plan,
    board: Board,
    template: Template,
    another: Callable[[], Template],
    services: Services,
) -> int:
    """Run until told to stop. Returns the exit code of `node.run`."""
    node = identifiers.node_name(options.hostname)
    app = bare_app(plan)
    set_up(app.conf, options, redirect=False)
    if not options.quiet:
        show(banner(node, plan))
    for line in plan.warnings:
        logger.warning("%s", line)
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
    attendance = Attendance(plan.attended)

    def ready() -> None:
        services.ready(node)
        attendance.tell("ready")

    def stopping(sig: str, how: str, code: int) -> None:
        services.stopping(sig, how, code)
        attendance.tell("stopping", sig=sig, how=how, exitcode=code)

    def tick(now: float) -> None:
        services.tick(now)
        attendance.keep(supervisor.crew.template, now)

    supervisor = Supervisor(
        node=own,
        plan=plan,
        board=board,
        template=template,
        new_template=another,
        post=post,
        on_ready=ready,
        on_stopping=stopping,
        accept=services.accept,
        on_renewed=services.renewed,
        on_tick=tick,
        on_end=attendance.finish,
        on_signal=services.signals,
    )
    upkeep = Upkeep(
        node=own,
        broker=broker,
        settler_for=settler_for,
        queues=plan.queues,
        board=board,
        lease=plan.lease,
        judge=conviction,
        events=_posted(post, supervisor),
    )
    doorbell = Doorbell(lambda: broker.waiter(plan.queues), supervisor.wake)
    services.open(node, supervisor, upkeep, board, plan, conviction, post)
    attendance.keep(template, time.monotonic())
    return supervisor.run(upkeep, doorbell)


def _posted(post: Post, supervisor: Supervisor) -> Events:
    """Upkeep's events as news for the supervisor's loop."""

    def posted(name: str) -> Callable[..., None]:
        return lambda *arguments: post.put(lambda: getattr(supervisor, name)(*arguments))

    return Events(**{name: posted(name) for name in Events.__struct_fields__})
