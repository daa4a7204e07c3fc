"""From a fresh process to a serving runner: logging, connections, and who works with whom. Wiring only."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ...backends.base import Counting
from ...brokers.base import Waiter
from ...client.result import set_task_join_will_block
from ...errors import CeleriacError
from ...execution.admission import Admission
from ...execution.limits import default as default_limits
from ...execution.mourning import Mourner
from ...execution.records import Records
from ...execution.revocations import Revocations
from ...execution.settling import Settling, chances
from ...execution.telling import Consumer as SignalSender
from ...execution.tracer import Tracer
from ...foundation import logs
from ...wire import serializers
from .. import lifecycle
from ..lines import Line
from ..logging_setup import set_up
from ..plan import GREEN, MANY
from ..settler import Settler
from ..supervisor.board import Board
from ..supervisor.rates import Rates, RateTable
from .flusher import Flusher
from .lifespan import Lifespan
from .read_ahead import ReadAhead
from .runner import Runner

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...brokers.base import Broker
    from ..loaded import Loaded
    from ..plan import Plan

logger = logging.getLogger("celeriac.worker.runner")

EX_FAILED, EX_UNAVAILABLE = 1, 69


def run_runner(loaded: Loaded, line: Line, board: Board, slot: int, consumer: str) -> int:
    """The life of a runner process. Returns its exit code."""
    # A session of its own: a Ctrl-C meant for the supervisor does not reach the task, and a task that kills its process
    # group kills its runner alone.
    os.setsid()
    _leave_signals_to_the_supervisor()
    logs.name_process(f"ForkPoolWorker-{slot + 1}")
    set_up(loaded.app.conf, loaded.options, redirect=True, index=slot + 1)
    set_task_join_will_block(loaded.plan.pool not in GREEN)  # as in Celery's pools
    lifecycle.process_begins(loaded.hostname, loaded.app.conf)
    code = _serve(loaded, line, board, slot, consumer)
    lifecycle.process_ends(loaded.hostname, code)
    return code


def _serve(loaded: Loaded, line: Line, board: Board, slot: int, consumer: str) -> int:
    try:
        if loaded.plan.pool in MANY:
            return _serve_many(loaded, line, board, slot, consumer)
        runner = make_runner(loaded, line, board, slot, consumer)
        runner.listen_to_signals()
        return runner.serve()
    except CeleriacError as error:
        logger.error("the runner cannot start: %s", error)
        return EX_UNAVAILABLE
    except Exception:
        logger.critical("the runner ends by an error of its own", exc_info=True)
        return EX_FAILED


def _leave_signals_to_the_supervisor() -> None:
    """A service manager's SIGTERM goes to every process of the service: the task has its grace all the same.

    Handlers that do nothing, for what is ignored stays ignored in programs that a task starts, and they could not be
    ended; processes that a task forks get the system's own behaviour back.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
    for number in numbers:
        signal.signal(number, lambda number, frame: None)
    os.register_at_fork(after_in_child=lambda: [signal.signal(number, signal.SIG_DFL) for number in numbers])


class Parts(Struct, frozen=True):
    """What runners of every kind are made of."""

    settler: Callable[[], Settler]
    admission: Admission
    tracer: Tracer
    revocations: Revocations
    mourn: Callable[..., None]
    lifespan: Lifespan | None
    listen: Callable[[], Waiter] | None


def _parts(loaded: Loaded, line: Line, board: Board, consumer: str) -> Parts:
    """With connections of their own."""
    app, plan = loaded.app, loaded.plan
    broker, backend, joined = connect(app)
    apart = None if joined else backend
    counts = joined and isinstance(backend, Counting)
    records = Records(app, _now, kept=backend is not None, counts=counts)
    sender = SignalSender(loaded.hostname, app)
    limits = default_limits(app.conf)
    tracer = Tracer(Settling(app, records), backend)
    return Parts(
        settler=lambda: Settler(broker.consumer(consumer, plan.queues), apart),
        admission=Admission(
            app.tasks,
            accepted(app),
            records,
            loaded.hostname,
            app.timezone,
            sender,
            limits,
            chances(app.conf.task_dead_letter_requeue_after, app.conf.task_dead_letter_max_requeues),
            rates_of(app, board),
        ),
        tracer=tracer,
        mourn=Mourner(app, tracer, accepted(app), loaded.hostname).mourn,
        revocations=Revocations(broker.revocations, records),
        lifespan=_lifespan(app.conf, plan, line),
        listen=(lambda: broker.waiter(plan.queues)) if _listens_itself(broker, plan) else None,
    )


def _serve_many(loaded: Loaded, line: Line, board: Board, slot: int, consumer: str) -> int:
    from .start_many import serve_many

    parts = _parts(loaded, line, board, consumer)
    return serve_many(
        loaded.plan,
        settler=parts.settler(),
        admission=parts.admission,
        tracer=parts.tracer,
        revocations=parts.revocations,
        mourn=parts.mourn,
        board=board,
        slot=slot,
        line=line,
        listen=parts.listen,
        lifespan=parts.lifespan,
    )


def make_runner(loaded: Loaded, line: Line, board: Board, slot: int, consumer: str) -> Runner:
    """A runner of one lane, the main thread."""
    plan = loaded.plan
    parts = _parts(loaded, line, board, consumer)
    flusher = Flusher(parts.settler)
    flusher.start()
    return Runner(
        settler=parts.settler(),
        flusher=flusher,
        admission=parts.admission,
        tracer=parts.tracer,
        desk=board.desk(slot),
        line=line,
        read_ahead=ReadAhead(plan.read_ahead, plan.reserved),
        max_bytes=plan.read_ahead_bytes,
        lifespan=parts.lifespan,
        revocations=parts.revocations,
        mourn=parts.mourn,
        alone=plan.pool == "solo",
        listen=parts.listen,
    )


def rates_of(app: Any, board: Board) -> Rates | None:
    """The rate limits of the app's tasks; None where they are not to be kept."""
    if app.conf.worker_disable_rate_limits:
        return None
    return Rates(RateTable(board), {name: task.rate_limit for name, task in app.tasks.items()})


def _lifespan(conf: Any, plan: Plan, line: Line) -> Lifespan | None:
    """A bound of tasks or memory for this process; solo's lives as long as its node."""
    tasks, kilobytes = conf.worker_max_tasks_per_child, conf.worker_max_memory_per_child
    if plan.pool == "solo" or not (tasks or kilobytes):
        return None
    return Lifespan(int(tasks or 0), int(kilobytes or 0), line.say)


def _listens_itself(broker: Broker, plan: Plan) -> bool:
    """The only runner of a node needs nobody to wake it; only waits on servers and files can hear its line as well.
    (Under greenlets nothing can wait for two things at a time but by `select`.)"""
    return plan.processes == 1 and broker.capabilities.shared and plan.pool not in GREEN


def connect(app: Any) -> tuple[Broker, Backend | None, bool]:
    """Broker and backend of this process, opened, and whether they settle in one step."""
    broker: Broker = app.open_broker()
    broker.open()
    if app.backend_url is None:
        return broker, None, False
    backend: Backend = app.open_backend()
    backend.open()
    return broker, backend, broker.join(backend.identity, backend.location)


def accepted(app: Any) -> frozenset[str]:
    """The content types of `accept_content`, by name or type."""
    return serializers.content_types(app.conf.accept_content or ())


def _now() -> datetime:
    return datetime.now(UTC)
