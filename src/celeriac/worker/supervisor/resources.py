"""What a node may use of its machine: memory and slots, looked after from the supervisor's loop by `tick`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...foundation.rate import rate
from ..plan import Plan
from .board import Board
from .crew import Crew
from .process import RunnerHandle
from .upkeep import Upkeep

if TYPE_CHECKING:
    from .autoscale import Scaling
    from .memory import NodeMemory

logger = logging.getLogger("celeriac.worker")


class Resources:
    """Made before upkeep starts."""

    def __init__(self, plan: Plan, crew: Crew, board: Board, upkeep: Upkeep) -> None:
        self._plan = plan
        self._crew = crew
        self._board = board
        self._upkeep = upkeep
        self._told_heavy = False
        self._memory: NodeMemory | None = None
        self._scaling: Scaling | None = None
        if plan.max_memory:
            from .memory import NodeMemory  # what is not asked for is not loaded

            self._memory = NodeMemory(plan.max_memory, crew, board)
        if plan.least:
            from .autoscale import LOOK, Scaling

            self._scaling = Scaling(plan.least, plan.concurrency, plan.lanes, crew, board)
            upkeep.count_backlog(every=LOOK)

    def tick(self, now: float, *, stopping: bool) -> None:
        if self._memory is not None:
            self._memory.tick(now)
        if self._scaling is not None and not stopping:
            self._scaling.tick(now, self._upkeep.backlog)

    def said(self, handle: RunnerHandle, word: str, more: dict[str, Any]) -> None:
        """A runner is about to end as it should, or is too large to begin with."""
        if word == "spent":
            self._crew.succeed(handle)
        elif word == "over":
            handle.over = True
        elif word == "heavy" and not self._told_heavy:
            self._told_heavy = True
            text = (
                "a process takes %d kB before its first task, more than worker_max_memory_per_child: "
                "it is not replaced for its memory"
            )
            logger.warning(text, more["kilobytes"])

    def change_rates(self, changes: Iterable[tuple[str, str]]) -> None:
        """(task, limit): for all runners, those included that start later."""
        from .rates import RateTable

        table = RateTable(self._board)
        for task, limit in changes:
            if task in self._plan.tasks:
                logger.info("New rate limit for tasks of type %s: %s.", task, limit or "none")
                table.change(task, rate(limit))
                for handle in self._crew.runners.values():
                    handle.line.say("rate", task=task, limit=limit)

    def facts(self) -> dict[str, Any]:
        """For whoever asks how the node is."""
        ready = self._crew.ready()
        facts: dict[str, Any] = {
            "processes": len(ready),
            "tasks": sum(self._board.ran(handle.slot)[0] for handle in ready),
        }
        if self._memory is not None:
            facts |= {"memory": self._memory.taken, "max_memory": self._plan.max_memory}
        if self._scaling is not None:
            facts |= {"autoscale": [self._plan.concurrency, self._plan.least], "used_slots": self._scaling.slots}
        return facts
