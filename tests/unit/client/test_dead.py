"""`app.dead`: choosing, mending, sending again, taking elsewhere."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from celeriac import Celery
from celeriac.brokers.base import Counts, Settlement, Verdict
from celeriac.client.dead import NoSuchLetter, per_second
from celeriac.errors import DecodeError
from celeriac.wire import envelope, protocol2

Kill = Callable[..., str]


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    app = Celery("dead", broker=f"memory://{request.node.name}", set_as_current=False)

    @app.task(name="shop.pay")
    def pay(x: int, y: int = 0) -> None: ...

    @app.task(name="mail.send", compression="gzip")
    def send(x: int) -> None: ...

    yield app
    app.close()


@pytest.fixture
def kill(app: Celery) -> Kill:
    """Call a task, and set its message aside. Returns the task's id."""
    app.broker.enlist("n/1", ["celery"])
    consumer = app.broker.consumer("n/1", ["celery"])

    def kill(task: str, *args: Any, reason: str = "failed", **options: Any) -> str:
        task_id = app.tasks[task].apply_async(args, **options).id
        consumer.send((), 1)
        (delivery,) = consumer.receive().deliveries
        dead = Settlement(delivery, Verdict.DEAD, reason=reason, task=task, task_id=task_id, traceback="tb")
        consumer.send([dead], 0)
        consumer.receive()
        return task_id

    return kill


def test_large_ones_are_sent_again_a_few_at_a_time(app: Celery, kill: Kill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac.client.dead._STEP_BYTES", 3000)
    calls: list[int] = []
    requeue_dead = app.broker.requeue_dead

    def counted(queue: str, ids: Any, **pace: Any) -> list[str]:
        calls.append(len(ids))
        return requeue_dead(queue, ids, **pace)

    monkeypatch.setattr(app.broker, "requeue_dead", counted)
    for size in (10, 10, 9000, 10):
        kill("shop.pay", "x" * size)
    assert app.dead.requeue(everything=True) == 4
    assert calls == [2, 1, 1]


@pytest.mark.parametrize(
    "lie",
    [
        {"since": 1e308},
        {"since": -1.0},
        {"since": 1e11},
        {"history": [{"when": 1e308, "what": "failed", "who": ""}]},
        {"strikes": -3},
        {"strikes": 2**70},
        {"requeues": -5},
        {"queue": ""},
        {"payload": "not base64!"},
    ],
    ids=str,
)
def test_a_file_with_lies_is_refused_by_its_line(app: Celery, kill: Kill, lie: dict[str, Any]) -> None:
    kill("shop.pay", 1)
    file = io.BytesIO()
    app.dead.export(file)
    told = {**json.loads(file.getvalue()), **lie}
    with pytest.raises(DecodeError, match="line 2 "):
        app.dead.load(io.BytesIO(file.getvalue() + json.dumps(told).encode()))
    assert len(app.dead.list()) == 1


def test_of_a_file_with_a_bad_line_it_is_told_how_many_are_kept(
    app: Celery, kill: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        kill("shop.pay", number)
    file = io.BytesIO()
    app.dead.export(file)
    app.dead.purge(everything=True)
    monkeypatch.setattr("celeriac.client.dead._STEP_BYTES", 10)  # each is a step of its own
    with pytest.raises(DecodeError, match=r"line 4 .* the first 3 letters of the file are kept"):
        app.dead.load(io.BytesIO(file.getvalue() + b"{}"))
    assert app.dead.count() == 3


def test_what_dies_while_somebody_is_asked_is_not_deleted(app: Celery, kill: Kill) -> None:
    kill("shop.pay", 1)
    asked: list[int] = []

    def confirm(count: int) -> None:
        asked.append(count)
        kill("shop.pay", 2)

    assert app.dead.purge(everything=True, confirm=confirm) == 1
    assert (asked, len(app.dead.list())) == ([1], 1)


def test_a_payload_is_bytes(app: Celery, kill: Kill) -> None:
    with pytest.raises(TypeError, match="bytes"):
        app.dead.edit(kill("shop.pay", 1), payload="text")  # type: ignore[arg-type]


def test_a_countdown_has_an_end(app: Celery, kill: Kill) -> None:
    task_id = kill("shop.pay", 1)
    for countdown in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValueError, match="countdown"):
            app.dead.requeue(task_id, countdown=countdown)


def test_letters_are_chosen_by_id_task_reason_and_age(app: Celery, kill: Kill) -> None:
    first, second, third = kill("shop.pay", 1), kill("mail.send", 2, reason="lost"), kill("shop.pay", 3)

    def chosen(*ids: str, **choice: Any) -> list[str]:
        return [letter.task_id for letter in app.dead.list(*ids, **choice)]

    assert chosen() == [third, second, first]
    assert chosen(limit=2) == [third, second]
    assert chosen(task="shop.*") == [third, first]
    assert chosen(task="shop.pay", reason="lost") == []
    assert chosen(reason="lost") == [second]
    assert chosen(first, third) == [third, first]
    assert chosen(app.dead.get(second).id) == [second]
    assert chosen(queues=["other"]) == []
    assert chosen(newer=3600) == chosen(older=datetime.now(UTC) + timedelta(hours=1)) == [third, second, first]
    assert chosen(older=timedelta(hours=1)) == []
    assert app.dead.count() == 3
    with pytest.raises(NoSuchLetter):
        app.dead.get("unknown")


def test_requeue_sends_the_oldest_first_at_its_rate(app: Celery, kill: Kill) -> None:
    tasks = [kill("shop.pay", number) for number in range(4)]
    assert app.dead.requeue(task="shop.*", dry_run=True) == 4
    assert app.dead.count() == 4
    now = time.time()
    assert app.dead.requeue(task="shop.*", countdown=100, rate="2/s") == 4
    waiting = app.broker.delayed("celery")
    assert [envelope.decode(payload).headers["id"] for _, payload in waiting] == tasks
    assert [due - now for due, _ in waiting] == pytest.approx([100, 100.5, 101, 101.5], abs=5)
    assert app.dead.requeue(everything=True) == 0
    for nothing_said in (app.dead.requeue, app.dead.purge):
        with pytest.raises(ValueError, match="everything=True"):
            nothing_said(queues=["celery"])


@pytest.mark.parametrize(
    ("text", "number"), [("10/s", 10), ("60/m", 1), ("7200/h", 2), (3, 3), ("0.5", 0.5), (None, 0)]
)
def test_rates(text: Any, number: float) -> None:
    assert per_second(text) == number
    with pytest.raises(ValueError, match="is no rate"):
        per_second("fast")


def test_edit_changes_arguments_and_headers_and_nothing_else(app: Celery, kill: Kill) -> None:
    task_id = kill("mail.send", 1, priority=3, link=app.tasks["shop.pay"].s(), expires=1000)
    before = app.dead.get(task_id)
    letter = app.dead.edit(task_id, args=[2, "日"], headers={"expires": None, "colour": "red"})
    assert (letter.id, letter.traceback, [each.what for each in letter.history]) == (before.id, "tb", ["edited"])
    old, new = envelope.decode(before.payload), envelope.decode(letter.payload)
    args, kwargs, embed = protocol2.read_body(new)
    assert (args, kwargs) == ([2, "日"], {})
    assert embed["callbacks"] == protocol2.read_body(old)[2]["callbacks"]
    assert new.headers["argsrepr"] == "(2, '日')"
    assert new.headers["colour"] == "red"
    assert "expires" not in new.headers
    assert new.properties == old.properties
    changed = {"expires", "colour", "argsrepr", "kwargsrepr", "compression"}
    assert {k: v for k, v in new.headers.items() if k not in changed} == {
        k: v for k, v in old.headers.items() if k not in changed
    }
    app.dead.edit(task_id, payload=b"garbage")
    with pytest.raises(DecodeError):
        app.dead.edit(task_id, args=[1])


def test_export_and_load(app: Celery, kill: Kill) -> None:
    tasks = {kill("shop.pay", 1), kill("shop.pay", 2)}
    letters = {letter.task_id: letter for letter in app.dead.list()}
    file = io.BytesIO()
    assert app.dead.export(file, task="shop.*") == 2
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert {line["task_id"] for line in lines} == tasks
    assert app.dead.purge(everything=True, dry_run=True) == 2
    assert app.dead.purge(everything=True) == 2
    assert app.broker.count(["celery"])["celery"] == Counts()
    file.seek(0)
    assert app.dead.load(file) == 2
    for letter in app.dead.list():
        assert letter.payload == letters[letter.task_id].payload
        assert letter.since == letters[letter.task_id].since
    with pytest.raises(DecodeError, match="line 2 is no dead letter"):
        app.dead.load(io.BytesIO(b"\n{}\n"))
