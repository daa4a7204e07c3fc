"""Canvases run as a worker runs them, over the memory engine: each delivery through admission, tracer and settlement,
until nothing is left. What comes out is what eager runs come to, and a run that is repeated changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from celeriac import Celery, GroupResult, StampingVisitor, chain, chord, group
from celeriac.brokers.base import Settlement
from celeriac.errors import ChordError, ChordsNotCounted, Ignore, Reject
from celeriac.execution.admission import Admission, Admitted
from celeriac.execution.records import Records
from celeriac.execution.settling import Settling
from celeriac.execution.tracer import Tracer
from celeriac.wire import envelope, serializers


class Bench:
    """An app, its tasks, and one worker in this thread."""

    def __init__(self) -> None:
        url = f"memory://{uuid4()}"
        self.app = app = Celery("bench", broker=url, backend=url, set_as_current=False)
        self.runs: list[str] = []
        self.requests: list[Any] = []
        #: Each delivery is run twice before it is settled, as after a death of the runner between run and settlement.
        self.twice = False
        self._tasks()
        records = Records(app, lambda: datetime.now(UTC), counts=True)
        accept = serializers.content_types(("json",))
        assert app.broker.join(app.backend.identity, app.backend.location)
        self.admission = Admission(app.tasks, accept, records, "bench")
        self.tracer = Tracer(Settling(app, records), app.backend)
        app.broker.enlist("me", ["celery"])
        self.consumer = app.broker.consumer("me", ["celery"])

    def _tasks(self) -> None:  # noqa: C901 - a list of tasks
        app, runs = self.app, self.runs

        @app.task(shared=False)
        def add(x: Any, y: Any = 0) -> Any:
            runs.append("add")
            return x + y

        @app.task(shared=False)
        def total(values: Any) -> Any:
            runs.append("total")
            return sum(values)

        @app.task(shared=False)
        def bad(*args: Any) -> Any:
            runs.append("bad")
            raise ValueError("no good")

        @app.task(shared=False)
        def heard(*args: Any) -> Any:
            runs.append(f"heard {len(args)}")

        @app.task(shared=False, bind=True)
        def swap(self: Any, x: Any, kind: str = "chain") -> Any:
            kinds = {"chain": add.s(x, 1) | add.s(10), "group": group(add.s(x, 1), add.s(x, 2)), "call": add.s(x, 5)}
            return self.replace(kinds[kind])

        @app.task(shared=False, bind=True)
        def grows(self: Any, x: Any) -> Any:
            self.add_to_chord(add.s(100, 0))
            return x

        @app.task(shared=False, bind=True, max_retries=2, default_retry_delay=0)
        def again(self: Any, x: Any) -> Any:
            if self.request.retries < 2:
                raise self.retry(countdown=0)
            return x

        @app.task(shared=False, bind=True)
        def facts(self: Any, *args: Any) -> Any:
            requests.append(self.request.__dict__.copy())
            return self.request.id

        requests = self.requests
        for task in (add, total, bad, heard, swap, grows, again, facts):
            setattr(self, task.name.rpartition(".")[2], task)

    def work(self) -> int:
        """Until the queue is empty; how many deliveries that took."""
        taken = 0
        self.consumer.send([], 1)
        while deliveries := self.consumer.receive().deliveries:
            taken += 1
            settlement = self.settle(deliveries[0])
            if self.twice:
                first, settlement = settlement, self.settle(deliveries[0])
                assert caused(first) == caused(settlement)
            self.consumer.send([settlement], 1)
        return taken

    def settle(self, delivery: Any) -> Settlement:
        admitted = self.admission.admit(delivery, time.time())
        if not isinstance(admitted, Admitted):
            return admitted
        settlement = self.tracer.trace(admitted)
        assert settlement is not None
        return settlement

    def __getattr__(self, name: str) -> Any: ...


def caused(settlement: Settlement) -> list[str]:
    """The ids of what it publishes."""
    fires = [member.fire for member in settlement.members]
    return [outgoing.message.headers["id"] for outgoing in (*settlement.follow_ups, *fires)]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.app.close()


#: What is sent, and what it comes to.
ENDS: dict[str, tuple[Callable[[Bench], Any], Any]] = {
    "chain": (lambda b: b.add.s(1, 1) | b.add.s(2), 4),
    "chain of 30": (lambda b: chain(b.add.s(1) if n else b.add.s(0, 1) for n in range(30)), 30),
    "group": (lambda b: group(b.add.s(n, n) for n in range(5)), [0, 2, 4, 6, 8]),
    "group of chains": (lambda b: group(b.add.s(n, n) | b.add.s(1) for n in range(3)), [1, 3, 5]),
    "task, group": (lambda b: b.add.s(1, 1) | group(b.add.s(1), b.add.s(2)), [3, 4]),
    "chord": (lambda b: chord([b.add.s(n, n) for n in range(5)], b.total.s()), 20),
    "empty chord": (lambda b: chord([], b.total.s()), 0),
    "group, task, task": (lambda b: group(b.add.s(1, 1), b.add.s(2, 2)) | b.total.s() | b.add.s(1), 7),
    "task, group, task, group, task": (
        lambda b: b.add.s(1, 1) | group(b.add.s(1), b.add.s(2)) | b.total.s() | group(b.add.s(3), b.add.s(4))
        | b.total.s(), 21,
    ),
    "chord in chord": (
        lambda b: chord([chord([b.add.s(1, 1), b.add.s(2, 2)], b.total.s()), b.add.s(3, 3)], b.total.s()), 12,
    ),
    "chord of chains with chords": (
        lambda b: chord([b.add.s(1, 1) | group(b.add.s(1), b.add.s(2)) | b.total.s(), b.add.s(3, 3)], b.total.s()), 13,
    ),
    "chord with a group as body": (
        lambda b: chord([b.add.s(1, 1), b.add.s(2, 2)], group(b.total.s(), b.total.s())), [6, 6],
    ),
    "groups in groups": (
        lambda b: group(b.add.s(1, 1), group(b.add.s(2, 2), b.add.s(3, 3))) | b.add.s([0]), [2, 4, 6, 0],
    ),
    "chord with a group as body, chain": (
        lambda b: chord([b.add.s(1, 1), b.add.s(2, 2)], group(b.total.s(), b.total.s()))
        | (b.total.s() | b.add.s(1)), 13,
    ),
    "map": (lambda b: b.add.map([1, 2]), [1, 2]),
    "chunks": (lambda b: b.add.chunks(zip(range(5), range(5), strict=True), 2), [[0, 2], [4, 6], [8]]),
    "chord of chunks": (lambda b: b.add.chunks([(1, 2), (3, 4)], 1).group() | b.add.s([]), [[3], [7]]),
    "replaced by a chain": (lambda b: b.swap.s(1) | b.add.s(100), 112),
    "replaced by a group": (lambda b: b.swap.s(1, "group"), [2, 3]),
    "replaced in a chain by a group": (lambda b: b.add.s(0, 1) | b.swap.s("group") | b.total.s(), 5),
    "replaced in a chord": (lambda b: chord([b.swap.s(1), b.swap.s(1, "call"), b.add.s(1, 1)], b.total.s()), 20),
    "added to a chord": (lambda b: chord([b.grows.s(1), b.add.s(1, 1)], b.total.s()), 103),
    "retried in a chord": (lambda b: chord([b.again.s(1), b.add.s(1, 1)], b.total.s()), 3),
    "immutable": (lambda b: chord([b.add.s(1, 1)], b.add.si(5, 5)) | b.add.si(1, 1), 2),
}  # fmt: skip


@pytest.mark.parametrize("twice", [False, True], ids=["once", "each run twice"])
@pytest.mark.parametrize("name", ENDS)
def test_ends(bench: Bench, name: str, twice: bool) -> None:
    make, expected = ENDS[name]
    bench.twice = twice and name != "added to a chord"  # that grows with each run, as in Celery
    result = make(bench).apply_async()
    bench.work()
    assert result.get(timeout=5) == expected
    if not twice:
        return
    counts = bench.app.broker.count(["celery"])["celery"]
    assert (counts.ready, counts.in_flight, counts.dead) == (0, 0, 0)


def test_the_eager_run_comes_to_the_same(bench: Bench) -> None:
    alike = [name for name in ENDS if not name.startswith(("groups in groups", "added"))]
    for name in alike:
        assert ENDS[name][0](bench).apply().get(disable_sync_subtasks=False) == ENDS[name][1], name


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda b: chord([b.add.s(1, 1), b.bad.s()], b.total.s()), ChordError),
        (lambda b: chord([b.add.s(1, 1), b.bad.s()], b.total.s()) | b.add.s(1) | b.add.s(2), ChordError),
        (lambda b: chord([chord([b.bad.s()], b.total.s()), b.add.s(1, 1)], b.total.s()), ChordError),
        (lambda b: chord([b.bad.s() | b.add.s(1) | b.add.s(1), b.add.s(1, 1)], b.total.s()), ChordError),
        (lambda b: b.bad.s() | group(b.add.s(1), b.add.s(2)) | b.total.s(), ValueError),
        (lambda b: b.bad.s() | b.add.s(1) | b.add.s(2), ValueError),
        (lambda b: chord([b.bad.s(), b.bad.s()], group(b.total.s(), b.total.s())), ChordError),
    ],
)
def test_a_failure_ends_all_that_waits_for_it(bench: Bench, make: Any, error: type[Exception]) -> None:
    result = make(bench).apply_async()
    bench.work()
    with pytest.raises(error):
        result.get(timeout=5, **({} if isinstance(result, GroupResult) else {"follow_parents": False}))
    assert "total" not in bench.runs


def test_errbacks_of_a_chord_are_called_once(bench: Bench) -> None:
    result = chord([bench.bad.s(), bench.bad.s()], bench.total.s().on_error(bench.heard.si(1))).apply_async()
    bench.work()
    assert result.failed()
    assert bench.runs.count("heard 1") == 1


def test_callbacks_may_be_canvases(bench: Bench) -> None:
    add, total = bench.add, bench.total
    result = add.s(1, 1).apply_async(link=[group(add.s(1), add.s(2)) | total.s(), add.s(5) | add.s(6)])
    bench.work()
    values = sorted(
        node.result for _, node in result.iterdeps() if node.id != result.id and not hasattr(node, "results")
    )
    assert bench.runs.count("add") == 5
    assert bench.runs.count("total") == 1
    assert values


def test_who_is_whose(bench: Bench) -> None:
    facts = bench.facts
    result = (facts.s() | group(facts.s(), facts.s())).apply_async()
    bench.work()
    first, *members = bench.requests
    assert [one["parent_id"] for one in members] == [first["id"]] * 2
    assert {one["root_id"] for one in bench.requests} == {first["id"]}
    assert [one["group_index"] for one in members] == [0, 1]
    assert len({one["group"] for one in members}) == 1
    assert result.parent.id == first["id"]
    (child,) = result.parent.children
    assert child.id == result.id
    assert [node.id for _, node in result.parent.iterdeps()] == [first["id"], result.id, *(r.id for r in result)]


def test_stamps_reach_every_call(bench: Bench) -> None:
    class Mine(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return {"mine": "yes"}

    facts = bench.facts
    canvas = facts.s().set(link=[facts.s()]) | group(facts.s(), facts.s()) | facts.s()
    canvas.stamp(Mine(), given=1)
    canvas.apply_async()
    bench.work()
    assert len(bench.requests) == 5
    assert all(one["stamps"] == {"mine": "yes", "given": 1} for one in bench.requests)


def test_a_redelivered_member_counts_once(bench: Bench) -> None:
    result = chord([bench.add.s(1, 1), bench.add.s(2, 2)], bench.total.s()).apply_async()
    first = bench.app.broker.peek("celery", 1)[0]
    message = envelope.decode(first)
    bench.consumer.send([], 1)
    (delivery,) = bench.consumer.receive().deliveries
    settlement = bench.settle(delivery)
    for _ in range(2):  # as it were delivered and settled again
        assert bench.app.broker.tally is not None
        assert bench.app.broker.tally(settlement.members[0]) is False
    bench.consumer.send([settlement], 0)
    bench.consumer.receive()
    assert not result.ready()
    bench.work()
    assert result.get(timeout=5) == 6
    assert message.headers["id"] == settlement.members[0].task_id


def test_what_cannot_count_refuses_at_the_call() -> None:
    """A broker and a backend that are two places settle in two steps."""
    here, there = f"memory://{uuid4()}", f"memory://{uuid4()}"
    with Celery("plain", broker=here, backend=there, set_as_current=False) as app:

        @app.task(shared=False)
        def add(x: int, y: int = 0) -> int:
            return x + y

        with pytest.raises(ChordsNotCounted, match="memory"):
            chord([add.s(1, 1)], add.s()).apply_async()
        with pytest.raises(ChordsNotCounted, match="memory"):
            (add.s(1, 1) | group(add.s(1), add.s(2)) | add.s()).apply_async()
        assert app.broker.peek("celery") == []


@pytest.mark.parametrize(
    "end",
    [
        lambda b: b.add.s(1, 1).set(expires=-1),
        lambda b: b.app.signature("of.no.such.name"),
        lambda b: b.ignored.s(),
        lambda b: b.rejected.s(),
        lambda b: b.bad.s(),
    ],
    ids=["expired", "unknown", "ignored", "rejected", "failed"],
)
def test_a_chord_ends_whatever_becomes_of_a_member(bench: Bench, end: Any) -> None:
    @bench.app.task(shared=False)
    def ignored() -> None:
        raise Ignore

    @bench.app.task(shared=False)
    def rejected() -> None:
        raise Reject("no", requeue=False)

    bench.ignored, bench.rejected = ignored, rejected
    result = (chord([end(bench), bench.add.s(1, 1)], bench.total.s()) | bench.add.s(1)).apply_async()
    bench.work()
    with pytest.raises(ChordError):
        result.get(timeout=5, follow_parents=False)


@pytest.mark.parametrize("last", ["add", "bad"])
def test_a_stock_producers_unlock_calls_the_body_once_all_have_ended(bench: Bench, last: str) -> None:
    members = group(bench.add.s(1, 1), getattr(bench, last).s(2, 2))
    result = members.freeze()
    body = bench.total.s()
    end = body.freeze("body")
    bench.app.send_task(
        "celery.chord_unlock",
        (result.id, body),
        {"result": [one.as_tuple() for one in result], "interval": 0},
        ignore_result=True,
    )
    members.apply_async()
    bench.work()
    while not end.ready():  # it was put off until the members had ended
        bench.app.broker.promote(["celery"])
        bench.work()
    if last == "add":
        assert end.get(timeout=5) == 6
    else:
        with pytest.raises(ChordError, match="no good"):
            end.get(timeout=5)
