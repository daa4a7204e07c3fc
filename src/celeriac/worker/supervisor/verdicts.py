"""What becomes of the deliveries of the dead. Pure: no I/O, no clock; `upkeep` carries it out.

A strike is a death under a message: of the process that ran it, or of a node that may have run it. One is convicted
(set aside as a dead letter) only when the evidence is *definite* - the board showed it running when its process died,
or it was all that its dead node held - and it has `max_strikes`. Everything else that a dead node held is a suspect: it
is next reserved alone in its runner, and after a second node's death alone on its node, so that neighbours of a message
that kills are never convicted with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from ...brokers.base import Delivery, Settlement, Shelf, Verdict

#: (delivery, strikes, what happened) -> settlement that sets the message aside.
Convict = Callable[[Delivery, int, str], Settlement]


def after_runner_death(
    deliveries: Sequence[Delivery],
    running: int,
    max_strikes: int,
    how: str,
    convict: Convict,
    *,
    definite: bool = True,
) -> list[Settlement]:
    """The supervisor lives and its board said which receipt ran (0: none). `Delivery.was` is the dead runner's receipt.

    What ran gets a strike; the rest goes back as if never reserved. `definite` False: other runners died of the same.
    """
    return [
        _strike(delivery, max_strikes, how, convict, definite=definite)
        if running and delivery.was == running
        else _back(delivery)
        for delivery in deliveries
    ]


def after_node_death(deliveries: Sequence[Delivery], max_strikes: int, how: str, convict: Convict) -> list[Settlement]:
    """A whole node died and nobody knows what it ran: all that its runners held gets a strike, definite if alone."""
    definite = len(deliveries) == 1
    return [_strike(delivery, max_strikes, how, convict, definite=definite) for delivery in deliveries]


def unharmed(deliveries: Sequence[Delivery]) -> list[Settlement]:
    """What a supervisor held while it was passing it on did not run there: back, with the strikes it has."""
    return [_back(delivery) for delivery in deliveries]


def resumed(deliveries: Sequence[Delivery], judged: Mapping[int, Settlement]) -> list[Settlement]:
    """Found again under a new name after an outage: what had been judged keeps its verdict (by its old receipt)."""
    return [
        structs.replace(judged[delivery.was], delivery=delivery) if delivery.was in judged else _back(delivery)
        for delivery in deliveries
    ]


def _strike(delivery: Delivery, max_strikes: int, how: str, convict: Convict, *, definite: bool) -> Settlement:
    strikes = delivery.strikes + 1
    if definite and strikes >= max_strikes:
        return convict(delivery, strikes, how)
    # A definite strike needs no quarantine: alone in its runner, the next death says as much again.
    shelf = Shelf.SUSPECT if definite or strikes < 2 else Shelf.QUARANTINE
    return Settlement(delivery, Verdict.REQUEUE, shelf=shelf, strikes=strikes)


def _back(delivery: Delivery) -> Settlement:
    return Settlement(delivery, Verdict.REQUEUE, shelf=delivery.shelf, strikes=delivery.strikes)
