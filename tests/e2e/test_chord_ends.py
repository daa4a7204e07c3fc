"""Members of chords that do not end by themselves: each chord ends all the same, with the error of that member, and
what was to follow such a task in a chain ends with it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from celeriac import chain, chord
from celeriac.errors import ChordError
from celeriac.exceptions import TaskRevokedError, TimeLimitExceeded, WorkerLostError
from tests.e2e.stage import Stage
from tests.processes import until
from tests.servers import RedisServer

TASKS = """
    import os, time
    from celeriac import Celery
    from celeriac.exceptions import Reject
    from celeriac.signals import task_prerun

    app = Celery("tasks", broker="@url@", backend="@url@")
    app.conf.task_max_strikes = 2
    app.conf.worker_lease = 2.0
    app.conf.accept_content = ["json"]

    def note(line):
        with open(os.path.join("@folder@", "notes"), "a") as file:
            file.write(line + "\\n")

    def mended():
        return os.path.exists(os.path.join("@folder@", "mended"))

    def die():
        if not mended():
            os.kill(os.getpid(), 9)
        return 100

    @task_prerun.connect
    def doom(task=None, args=None, **more):
        if task.name == "celeriac.chord_body" and "doomed" in str(args):
            die()

    @app.task
    def good(x):
        return x

    @app.task(reject_on_worker_lost=False)
    def lost():
        return die()

    @app.task
    def convicted():
        return die()

    @app.task(ignore_result=True)
    def ignoring():
        return die()

    @app.task(acks_late=False)
    def early():
        return die()

    @app.task(time_limit=0.3)
    def late():
        mended() or time.sleep(60)
        return 100

    @app.task(time_limit=0.3, acks_on_timeout=False)
    def too_often():
        mended() or time.sleep(60)

    @app.task(time_limit=0.3, acks_late=False)
    def early_late():
        time.sleep(60)

    @app.task
    def held():
        note("held")
        time.sleep(60)

    @app.task
    def rejected():
        if not mended():
            raise Reject("no", requeue=False)
        return 100

    @app.task(dead_letter=True)
    def kept():
        if not mended():
            raise ValueError("kept")
        return 100

    @app.task
    def gate(x):
        note(f"gate {x}")
        while not mended():
            time.sleep(0.01)
        return x

    @app.task
    def total(values, word):
        note(f"total {word}")
        return sum(values)

    @app.task
    def errback(task_id, word):
        note(f"errback {word} {task_id}")
"""


@pytest.fixture(params=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.ask("FLUSHALL")
        url = server.url()
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, url=url, folder=tmp_path)
    yield stage
    stage.show()
    stage.close()


#: What keeps the member from ending by itself: its call, and what the chord's error says of it.
KINDS: dict[str, tuple[Callable[[ModuleType], Any], str]] = {
    "lost": (lambda tasks: tasks.lost.si(), "WorkerLostError"),
    "convicted": (lambda tasks: tasks.convicted.si(), "WorkerLostError"),
    "ignoring": (lambda tasks: tasks.ignoring.si(), "WorkerLostError"),
    "early": (lambda tasks: tasks.early.si(), "WorkerLostError"),
    "late": (lambda tasks: tasks.late.si(), "TimeLimitExceeded"),
    "too_often": (lambda tasks: tasks.too_often.si(), "TimeLimitExceeded"),
    "early_late": (lambda tasks: tasks.early_late.si(), "TimeLimitExceeded"),
    "terminated": (lambda tasks: tasks.held.si(), "TaskRevokedError('terminated')"),
    "revoked": (lambda tasks: tasks.good.si(1), "TaskRevokedError('revoked')"),
    "expired": (lambda tasks: tasks.good.si(1).set(expires=0.001), "TaskRevokedError('expired')"),
    "unregistered": (lambda tasks: tasks.app.signature("tasks.nobody"), "NotRegistered"),
    "invalid": (lambda tasks: tasks.good.si(1).set(headers={"eta": "never"}), "InvalidTaskError"),
    "rejected": (lambda tasks: tasks.rejected.si(), "reject requeue=False: no"),
    "kept": (lambda tasks: tasks.kept.si(), "ValueError"),
}
#: Whose message is kept as a dead letter.
DEAD = {"convicted", "ignoring", "too_often", "unregistered", "invalid", "rejected", "kept"}


def send(tasks: ModuleType, member: Any, word: str) -> Any:
    body = tasks.total.s(word).on_error(tasks.errback.s(word))
    return chord([tasks.good.s(1), member, tasks.good.s(2)])(body)


def idle(tasks: ModuleType) -> bool:
    counts = tasks.app.broker.count(["celery"])["celery"]
    return not (counts.ready or counts.delayed or counts.in_flight or counts.suspects or counts.quarantined)


def error_of(result: Any) -> BaseException:
    with pytest.raises(Exception) as raised:
        result.get(timeout=30)
    return raised.value


def counted(tasks: ModuleType, results: dict[str, Any]) -> dict[str, int]:
    return {word: len(tasks.app.backend.parts(result.parent.id)) for word, result in results.items()}


def test_a_chord_ends_whatever_its_member_ends_with(stage: Stage) -> None:
    tasks = stage.client()
    results = {word: send(tasks, make(tasks), word) for word, (make, _) in KINDS.items()}
    ids = {word: result.parent[1].id for word, result in results.items()}
    tasks.app.control.revoke(ids["revoked"])
    chains = {
        kind: chain(task.si(), tasks.good.si(1), tasks.good.s())()
        for kind, task in {
            WorkerLostError: tasks.lost, TimeLimitExceeded: tasks.late, TaskRevokedError: tasks.held,
        }.items()
    }  # fmt: skip
    time.sleep(0.01)  # what is to expire has expired
    stage.node("-c", "3")
    stage.noted("held", times=2, within=60)
    first = chains[TaskRevokedError].parent.parent.id
    tasks.app.control.revoke([ids["terminated"], first], terminate=True, signal="SIGKILL")
    for word, (_, said) in KINDS.items():
        # By its id: where it knows its members, the error of one that has failed by then is raised first, as in Celery.
        error = error_of(tasks.app.AsyncResult(results[word].id))
        assert isinstance(error, ChordError), (word, error)
        assert str(error).startswith(f"Dependency {ids[word]} raised {said}"), (word, error)
        stage.noted(f"errback {word} {results[word].id}")
    for kind, result in chains.items():
        assert isinstance(error_of(result), kind)
        assert result.state == result.parent.state == result.parent.parent.state
    until(lambda: idle(tasks), what="nothing is left to be done")
    assert counted(tasks, results) == dict.fromkeys(KINDS, 3)
    assert {letter.task_id for letter in tasks.app.dead.list()} == {ids[word] for word in DEAD}

    stage.write("mended", "")
    tasks.app.dead.requeue(everything=True)
    fresh = tasks.app.AsyncResult
    for word in DEAD - {"unregistered", "invalid"}:
        until(lambda one=ids[word]: fresh(one).state == "SUCCESS", within=20, what=word)
    until(lambda: idle(tasks), what="nothing is left to be done")
    assert counted(tasks, results) == dict.fromkeys(KINDS, 3)
    assert {fresh(result.id).state for result in results.values()} == {"FAILURE"}
    notes = stage.notes()
    assert [note for note in notes if note.startswith("total")] == []
    assert len([note for note in notes if note.startswith("errback")]) == len(KINDS)


def test_a_chord_ends_though_whatever_calls_its_body_dies(stage: Stage) -> None:
    tasks = stage.client()
    result = send(tasks, tasks.good.s(3), "doomed")
    inner = chord([tasks.good.s(1), tasks.good.s(2)])(tasks.total.s("doomed") | tasks.good.s())
    stage.node("-c", "2")
    assert isinstance(error_of(result), WorkerLostError)
    stage.noted(f"errback doomed {result.id}")
    assert isinstance(error_of(inner), WorkerLostError)
    stage.write("mended", "")
    assert tasks.app.dead.requeue(everything=True) == 2
    fresh = tasks.app.AsyncResult
    until(
        lambda: (fresh(result.id).state, fresh(inner.id).state) == ("SUCCESS",) * 2, within=20, what="both are called"
    )
    assert (fresh(result.id).get(), fresh(inner.id).get()) == (6, 3)


def test_what_a_cold_shutdown_gives_back_is_not_counted(stage: Stage) -> None:
    tasks = stage.client()
    node = stage.node("-c", "2")
    result = send(tasks, tasks.gate.s(3), "cold")
    stage.noted("gate 3")
    until(lambda: counted(tasks, {"cold": result}) == {"cold": 2}, what="the others have ended")
    node.stop(how=signal.SIGQUIT)
    assert counted(tasks, {"cold": result}) == {"cold": 2}
    stage.write("mended", "")
    stage.node("-c", "2")
    assert result.get(timeout=20) == 6
    until(lambda: idle(tasks), what="nothing is left to be done")
    assert stage.notes().count("total cold") == 1
