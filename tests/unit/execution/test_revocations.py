"""What a worker knows to be revoked: read when a turn says so, and as stamps match in Celery."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celeriac import Celery
from celeriac.brokers.base import Delivery
from celeriac.brokers.revocation import Revocation
from celeriac.client.control import number_of
from celeriac.client.request import Context
from celeriac.errors import ImproperlyConfigured, OperationalError
from celeriac.execution.admission import Admitted
from celeriac.execution.records import Records
from celeriac.execution.revocations import Known, Revocations


@pytest.mark.parametrize(
    "stamps, revoked",
    [
        ({"batch": "7"}, True),
        ({"batch": 7}, True),
        ({"batch": ["1", "7"]}, True),
        ({"batch": "77"}, False),
        ({"other": "7"}, False),
        ({}, False),
    ],
)
def test_stamps(stamps: dict[str, Any], revoked: bool) -> None:
    known = Known([Revocation(headers={"batch": ("7", "8")})])
    message = {"id": "x", "stamped_headers": list(stamps), "stamps": stamps}
    assert (known.find(message) is not None) == revoked
    # What is not named among the stamped headers is a header like others.
    assert known.find({**message, "stamped_headers": None}) is None


class Broker:
    """Entries by revision; counts how often it was asked."""

    def __init__(self) -> None:
        self.entries: list[Revocation] = []
        self.asked: list[int] = []
        self.away = False

    def read(self, since: int) -> tuple[int, list[Revocation]]:
        if self.away:
            raise OperationalError("away")
        self.asked.append(since)
        return len(self.entries), self.entries[since:]


def test_it_asks_only_when_a_turn_saw_newer_ones() -> None:
    broker = Broker()
    with Celery("revoked", set_as_current=False) as app:
        revocations = Revocations(broker.read, Records(app, lambda: app.now()))
        task: Any = SimpleNamespace(name="t", ignore_result=False)

        def refused(task_id: str, revision: int) -> bool:
            request = Context(id=task_id, task="t")
            return revocations.refuse(Admitted(Delivery("q", 1, b""), task, request, (), {}), revision) is not None

        assert not refused("a", 0)
        assert broker.asked == []
        broker.entries.append(Revocation("a"))
        assert refused("a", 1)
        assert not refused("b", 1)
        assert broker.asked == [0]
        broker.entries.append(Revocation("b"))
        broker.away = True
        with pytest.raises(OperationalError):  # what is not known does not start
            refused("b", 2)
        broker.away = False
        assert refused("b", 2)
        assert broker.asked == [0, 1]
        broker.entries.clear()  # the server was emptied
        assert not refused("a", 0)


def test_orders_that_make_no_sense() -> None:
    assert [number_of(signal) for signal in (None, "SIGKILL", "kill", 9, "9")] == [15, 9, 9, 9, 9]
    with pytest.raises(ValueError, match="there is no signal 'SIGFOO'"):
        number_of("SIGFOO")
    with Celery("revoked", broker="memory://", set_as_current=False) as app:
        with pytest.raises(ImproperlyConfigured, match="destination"):
            app.control.revoke("x", destination=["one@host"])
        with pytest.raises(TypeError, match="'terminat'"):
            app.control.revoke("x", terminat=True)
