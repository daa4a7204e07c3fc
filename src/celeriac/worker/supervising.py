"""The supervisor process, wired: who is made of what, and who tells whom. `node` has started the template before."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

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
    told = _Told(services, attendance)
    supervisor = Supervisor(
        node=own,
        plan=plan,
        board=board,
        template=template,
        new_template=another,
        post=post,
        on_ready=lambda: told.ready(node),
        on_stopping=told.stopping,
        accept=told.accept,
        on_renewed=services.renewed,
        on_tick=lambda now: told.tick(now, supervisor.crew.template),
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
    conviction.tell = lambda word, delivery, more: post.put(lambda: attendance.tell_of(word, delivery.payload, more))
    return supervisor.run(upkeep, doorbell)


class _Told:
    """Both that are told of what the node does."""

    def __init__(self, services: Services, attendance: Attendance) -> None:
        self._services = services
        self._attendance = attendance

    def ready(self, node: str) -> None:
        self._services.ready(node)
        self._attendance.tell("ready")

    def stopping(self, sig: str, how: str, code: int) -> None:
        self._services.stopping(sig, how, code)
        self._attendance.tell("stopping", sig=sig, how=how, exitcode=code)

    def tick(self, now: float, template: Template) -> None:
        self._services.tick(now)
        self._attendance.keep(template, now)

    def accept(self, hello: dict[str, Any]) -> str:
        refusal = self._services.accept(hello)
        if not refusal:
            self._attendance.wanted = bool(hello["plan"]["attended"])
        return refusal


def _posted(post: Post, supervisor: Supervisor) -> Events:
    """Upkeep's events as news for the supervisor's loop."""

    def posted(name: str) -> Callable[..., None]:
        return lambda *arguments: post.put(lambda: getattr(supervisor, name)(*arguments))

    return Events(**{name: posted(name) for name in Events.__struct_fields__})
