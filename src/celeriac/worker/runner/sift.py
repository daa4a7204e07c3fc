"""Sifting: the broker refused a batch of outcomes as a whole, though it is there. They are settled one by one, so that
one that can never be settled does not keep all others, and the runner, waiting for ever. It talks to no broker itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from msgspec import structs

from ...brokers.base import Delivery, Settlement, Verdict
from ...errors import CeleriacError, FencedError, OperationalError

logger = logging.getLogger("celeriac.worker.runner")


def sift(outcomes: list[Settlement], settle: Callable[[list[Settlement]], None]) -> None:
    """Take from `outcomes` whatever `settle` accepts; what it refuses alone is set aside as a dead letter.

    Raises: what `settle` raises for an outage, and for a refusal of everything; the rest stays in `outcomes`.
    """
    settle([])  # a broker that refuses even this refuses whatever it is asked: no outcome is at fault
    while outcomes:
        outcome = outcomes.pop(0)
        for attempt in _attempts(outcome):
            try:
                settle([attempt])
                break
            except (FencedError, OperationalError):
                raise  # not refused: the consumer brings it home by itself
            except CeleriacError as error:
                reason = error
                logger.error("an outcome is refused for good: %s", error)
        else:
            logger.critical("a message cannot even be set aside and stays in flight until this runner ends: %s", reason)


def back(delivery: Delivery) -> Settlement:
    """It returns to its queue as it came."""
    return Settlement(delivery, Verdict.REQUEUE, shelf=delivery.shelf, strikes=delivery.strikes)


def _attempts(outcome: Settlement) -> Iterator[Settlement]:
    """The outcome, then less and less of it: the result of a run is worth more than what could not follow it."""
    yield outcome
    detail = "it ran, and the broker refuses what should follow: see the worker's log"
    if outcome.delivery is None:
        if outcome.record is not None and outcome.follow_ups:
            yield Settlement(None, record=outcome.record, members=outcome.members, also=outcome.also)
        if outcome.record is not None and (outcome.members or outcome.also):
            yield Settlement(None, record=outcome.record)
        return
    if outcome.record is not None:
        dead = Settlement(
            outcome.delivery, Verdict.DEAD, outcome.record, members=outcome.members, also=outcome.also,
            reason="unsettled", detail=detail, task_id=outcome.record.task_id,
        )  # fmt: skip
        yield dead
        if dead.members or dead.also:
            yield structs.replace(dead, members=(), also=())
    yield Settlement(outcome.delivery, Verdict.DEAD, reason="unsettled", detail=detail)  # the id itself may be at fault
