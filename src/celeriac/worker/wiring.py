"""What every kind of node needs, made from a plan: names, a bare app, and what upkeep works with."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..backends.base import Counting
from ..brokers.base import Broker
from ..client.app import Celery
from .conviction import Conviction
from .plan import Plan
from .runner.start import connect
from .settler import Settler


def bare_app(plan: Plan) -> Celery:
    """An app with the plan's settings and none of the user's code: enough to open connections."""
    app = Celery(plan.name, set_as_current=False)
    app.conf.override({**plan.settings, "broker_url": plan.broker, "result_backend": plan.backend})
    return app


def incarnation(node: str) -> str:
    """A name that no other start of this node ever has."""
    return f"{node}:{os.getpid()}-{os.urandom(4).hex()}"


def open_upkeep(app: Celery, plan: Plan) -> tuple[Broker, Callable[[str], Settler], Conviction]:
    """The supervisor's broker, its settlers, and how it convicts. Raises: OperationalError, LayoutError."""
    broker, backend, joined = connect(app)
    broker.declare(plan.queues)
    apart = None if joined else backend

    def settler_for(consumer: str) -> Settler:
        return Settler(broker.consumer(consumer, plan.queues), apart)

    counts = joined and isinstance(backend, Counting)
    return broker, settler_for, Conviction(app, plan, kept=backend is not None, counts=counts)
