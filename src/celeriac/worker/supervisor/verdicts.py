"""What becomes of the deliveries of the dead. Pure: no I/O, no clock; `upkeep` carries it out.

A strike is a death under a message: of the process that ran it, or of a node that may have run it. One is convicted
(set aside as a dead letter) only when the evidence is *definite* - the board showed it running alone when its process
died, or it was all that its dead node held - and it has `max_strikes`. Everything else that ran, or that a dead node
held, is a suspect: it is next reserved alone in its runner, and after a second node's death alone on its node, so that
neighbours of a message that kills are never convicted with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import structs

from ...brokers.base import Delivery, Settlement, Shelf, Verdict
from .fates import Fate, Lost, Terminated, TimedOut


class Judge(Protocol):
    """Makes the settlements that store something: `worker.conviction` does, with the app's settings."""

    max_strikes: int

    def convict(self, delivery: Delivery, strikes: int, how: str) -> Settlement:
        """A dead letter: processes died `strikes` times under it."""
        ...

    def lost(self, delivery: Delivery, fate: Lost) -> Settlement | None:
        """What the task's own options say of the loss of its process; None: it runs again, with a strike."""
        ...

    def gone(self, delivery: Delivery, fate: Fate) -> Settlement | None:
        """It had been acknowledged before its run; None: nothing is to be stored or sent."""
        ...

    def timed_out(self, delivery: Delivery, fate: TimedOut) -> Settlement:
        """A failure: TimeLimitExceeded."""
        ...

    def terminated(self, delivery: Delivery, fate: Terminated) -> Settlement:
        """REVOKED."""
        ...


def after_runner_death(deliveries: Sequence[Delivery], fates: Mapping[int, Fate], judge: Judge) -> list[Settlement]:
    """The supervisor lives and saw how runs ended, by `Delivery.was`, the dead runner's receipts. The rest goes back
    as if never reserved."""
    return [
        _back(delivery) if (fate := fates.get(delivery.was)) is None else _judged(delivery, fate, judge)
        for delivery in deliveries
    ]


def acknowledged_early(
    early: Sequence[Delivery], found: Sequence[Delivery], fates: Mapping[int, Fate], judge: Judge
) -> list[Settlement]:
    """Of what ended with its process, what the broker had forgotten before: it is not among what was `found`."""
    known = {delivery.was for delivery in found}
    ended = [(each, fates[each.was]) for each in early if each.was in fates and each.was not in known]
    return [settlement for each, fate in ended if (settlement := judge.gone(each, fate)) is not None]


def final(
    found: Sequence[Delivery], judged: Sequence[Settlement], fates: Mapping[int, Fate], early: Sequence[Delivery]
) -> list[tuple[Delivery, Fate]]:
    """What ended with its process and will not run again. (A message that is tried again stores no final state.)"""
    ended = [
        (delivery, fates[delivery.was])
        for delivery, settlement in zip(found, judged, strict=True)
        if delivery.was in fates
        and settlement.verdict in (Verdict.DONE, Verdict.DEAD)
        and (settlement.record is None or settlement.record.final)
    ]
    known = {delivery.was for delivery in found}
    return ended + [(each, fates[each.was]) for each in early if each.was in fates and each.was not in known]


def _judged(delivery: Delivery, fate: Fate, judge: Judge) -> Settlement:
    if isinstance(fate, TimedOut):
        return judge.timed_out(delivery, fate)
    if isinstance(fate, Terminated):
        return judge.terminated(delivery, fate)
    settlement = judge.lost(delivery, fate)
    return _strike(delivery, judge, fate) if settlement is None else settlement


def after_node_death(deliveries: Sequence[Delivery], how: str, judge: Judge) -> list[Settlement]:
    """A whole node died and nobody knows what it ran: all that its runners held gets a strike, definite if alone."""
    fate = Lost(how, definite=len(deliveries) == 1)
    return [_strike(delivery, judge, fate) for delivery in deliveries]


def unharmed(deliveries: Sequence[Delivery]) -> list[Settlement]:
    """What a supervisor held while it was passing it on did not run there: back, with the strikes it has."""
    return [_back(delivery) for delivery in deliveries]


def resumed(deliveries: Sequence[Delivery], judged: Mapping[int, Settlement]) -> list[Settlement]:
    """Found again under a new name after an outage: what had been judged keeps its verdict (by its old receipt)."""
    return [
        structs.replace(judged[delivery.was], delivery=delivery) if delivery.was in judged else _back(delivery)
        for delivery in deliveries
    ]


def _strike(delivery: Delivery, judge: Judge, fate: Lost) -> Settlement:
    strikes = delivery.strikes + 1
    if fate.definite and strikes >= judge.max_strikes:
        return judge.convict(delivery, strikes, fate.how)
    # A definite strike needs no quarantine: alone in its runner, the next death says as much again.
    shelf = Shelf.SUSPECT if fate.definite or strikes < 2 else Shelf.QUARANTINE
    return Settlement(delivery, Verdict.REQUEUE, shelf=shelf, strikes=strikes)


def _back(delivery: Delivery) -> Settlement:
    return Settlement(delivery, Verdict.REQUEUE, shelf=delivery.shelf, strikes=delivery.strikes)
