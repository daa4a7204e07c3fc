"""Wiring of a runner of many lanes: which kind of lane, and who works with whom. `start` has the rest of its life."""

from __future__ import annotations

from collections.abc import Callable

from ...brokers.base import Waiter
from ...execution.admission import Admission
from ...execution.revocations import Revocations
from ...execution.tracer import Tracer
from .. import lifecycle
from ..lines import Line
from ..plan import Plan
from ..settler import Settler
from ..supervisor.board import Board
from .ends import Ends
from .lanes.base import Lanes
from .lifespan import Lifespan
from .many import ManyRunner
from .read_ahead import ReadAhead
from .roster import Roster, limits_of
from .wards import Wards


def serve_many(
    plan: Plan,
    *,
    settler: Settler,
    admission: Admission,
    tracer: Tracer,
    revocations: Revocations,
    mourn: Callable[..., None],
    board: Board,
    slot: int,
    line: Line,
    listen: Callable[[], Waiter] | None,
    lifespan: Lifespan | None,
) -> int:
    """The life of a runner of `plan.lanes` lanes. Returns its exit code."""
    ends = Ends(line.intact)
    lanes = lanes_of(plan, tracer, ends)
    roster = Roster([board.desk(slot, lane) for lane in range(plan.lanes)], limits_of)
    runner = ManyRunner(
        settler=settler,
        lanes=lanes,
        ends=ends,
        admission=admission,
        roster=roster,
        wards=Wards(lanes, board.desk(slot), roster.running, mourn),
        revocations=revocations,
        line=line,
        read_ahead=ReadAhead(plan.read_ahead, plan.reserved),
        max_bytes=plan.read_ahead_bytes,
        listen=listen,
        lifespan=lifespan,
    )
    with lifecycle.pool_runs(plan.pool, lanes):
        return lanes.run(runner.serve)


def lanes_of(plan: Plan, tracer: Tracer, ends: Ends) -> Lanes:
    """Lanes of the plan's pool."""
    if plan.pool == "asyncio":
        from .lanes.loop import LoopLanes

        return LoopLanes(tracer.trace, tracer.trace_coroutine, plan.lanes, ends.tell)
    if plan.pool == "threads":
        from .lanes.threads import ThreadLanes

        return ThreadLanes(tracer.trace, plan.lanes, ends.tell)
    from .lanes.greenlets import green_lanes

    return green_lanes(plan.pool, tracer.trace, plan.lanes, ends.tell)
