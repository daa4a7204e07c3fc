"""Ids that no store can hold: their messages are set aside before they run."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from celeriac import Celery
from celeriac.brokers.base import Delivery, Settlement, Verdict
from celeriac.execution.admission import Admission, Admitted
from celeriac.execution.records import Records

ENVELOPE = (
    '{"body": "%s", "content-type": "application/json", "content-encoding": "utf-8", "properties": '
    '{"body_encoding": "base64", "delivery_info": {}, "delivery_tag": "1"}, "headers": {"task": "t", "id": "%s"}}'
)


def admitted(task_id: str) -> Admitted | Settlement:
    app = Celery("ids", broker="memory://", backend="memory://", set_as_current=False)
    task = app.task(name="t")(lambda: None)
    records = Records(app, lambda: datetime.now(UTC))
    admission = Admission({"t": task}, frozenset({"application/json"}), records, "here")
    body = base64.b64encode(b"[[], {}, {}]").decode()
    return admission.admit(Delivery("q", 1, (ENVELOPE % (body, task_id)).encode()), 0.0)


@pytest.mark.parametrize("task_id", ["1", "\u00fc", "\\u00fc", "\\ud83d\\ude00"])
def test_any_text_is_an_id(task_id: str) -> None:
    assert isinstance(admitted(task_id), Admitted)


def test_half_a_character_is_none() -> None:
    settlement = admitted("\\ud800")
    assert isinstance(settlement, Settlement)
    assert (settlement.verdict, settlement.reason, settlement.record) == (Verdict.DEAD, "invalid", None)
