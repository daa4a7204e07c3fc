"""What is left of an outcome that the broker refuses: its end counts as long as that alone is accepted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from celeriac.brokers.base import Delivery, Member, Outgoing, Settlement, Verdict
from celeriac.errors import CeleriacError
from celeriac.wire.message import Message, Record
from celeriac.worker.runner.sift import sift

DELIVERY = Delivery("q", 1, b"")
CALL = Outgoing("q", Message({}, b"", {}))
RECORD = Record("1", b"{}")
OUTCOME = Settlement(
    DELIVERY, record=RECORD, follow_ups=(CALL,), members=(Member("g", "1", 0, b"{}", CALL),), also=(RECORD,)
)


def sifted(outcome: Settlement, refuses: Callable[[Settlement], bool]) -> list[Settlement]:
    accepted: list[Settlement] = []

    def settle(some: list[Settlement]) -> None:
        if any(map(refuses, some)):
            raise CeleriacError("refused")
        accepted.extend(some)

    sift([outcome], settle)
    return accepted


@pytest.mark.parametrize("delivery", [DELIVERY, None])
def test_a_member_whose_follow_ups_are_refused_is_counted(delivery: Delivery | None) -> None:
    (settled,) = sifted(structs.replace(OUTCOME, delivery=delivery), lambda it: bool(it.follow_ups))
    assert settled.verdict is (Verdict.DONE if delivery is None else Verdict.DEAD)
    assert (settled.record, settled.members, settled.also) == (RECORD, OUTCOME.members, OUTCOME.also)


@pytest.mark.parametrize("delivery", [DELIVERY, None])
def test_a_member_that_is_refused_itself_keeps_its_result(delivery: Delivery | None) -> None:
    (settled,) = sifted(structs.replace(OUTCOME, delivery=delivery), lambda it: bool(it.members))
    assert settled.verdict is (Verdict.DONE if delivery is None else Verdict.DEAD)
    assert (settled.record, settled.members) == (RECORD, ())
