"""Revoking: what does not run, on whichever node, whenever it starts; and what is ended though it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from celeriac.brokers.base import Counts
from celeriac.contrib.abortable import ABORTED, AbortableAsyncResult
from celeriac.exceptions import TaskRevokedError
from tests.e2e.stage import Stage
from tests.processes import until
from tests.servers import RedisServer

TASKS = """
    import os, time
    from celeriac import Celery
    from celeriac.contrib.abortable import AbortableTask
    from celeriac.exceptions import SoftTimeLimitExceeded

    app = Celery("tasks", broker="@broker@", backend="@backend@")

    def note(line):
        with open(os.path.join("@folder@", "notes"), "a") as file:
            file.write(line + "\\n")

    @app.task
    def tell(word):
        note(word)
        return word

    @app.task
    def hold(word):
        note(word)
        time.sleep(60)

    @app.task(acks_late=False)
    def early(word):
        note(word)
        time.sleep(60)

    @app.task
    def tidy(word):
        note(word)
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            return "tidied"

    @app.task
    def gate(word):
        note(word)
        while not os.path.exists(os.path.join("@folder@", "gate")):
            time.sleep(0.01)

    @app.task(bind=True, base=AbortableTask)
    def until_aborted(self):
        note("looks")
        while not self.is_aborted():
            time.sleep(0.02)
        return "stopped"
"""


@pytest.fixture(params=["sqlite", "redis"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    if request.param == "sqlite":
        broker = backend = f"sqlite:///{tmp_path / 'queue.db'}"
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        server.ask("FLUSHALL")
        broker, backend = server.url(0), server.url(1)
    stage.write("tasks.py", TASKS, broker=broker, backend=backend, folder=tmp_path)
    yield stage
    (tmp_path / "gate").touch()
    stage.show()
    stage.close()


@pytest.fixture
def tasks(stage: Stage) -> ModuleType:
    return stage.client()


def test_what_is_revoked_never_begins(stage: Stage, tasks: ModuleType) -> None:
    before = tasks.tell.delay("before")
    later = tasks.tell.apply_async(("later",), countdown=1)
    stamped = tasks.tell.apply_async(
        ("stamped",), headers={"stamped_headers": ["batch"], "stamps": {"batch": ["7", "8"]}}
    )
    spared = tasks.tell.apply_async(("spared",), headers={"stamped_headers": ["batch"], "stamps": {"batch": "9"}})
    tasks.app.control.revoke([before.id, later.id, "not sent yet"])
    tasks.app.control.revoke_by_stamped_headers({"batch": ["8", "10"]})
    node = stage.node("-c", "1")  # it starts later, and obeys
    unsent = tasks.tell.apply_async(("unsent",), task_id="not sent yet")
    assert spared.get(timeout=10) == "spared"
    for result in (before, stamped, unsent, later):
        with pytest.raises(TaskRevokedError, match=r"^revoked$"):
            result.get(timeout=10)
        assert result.state == "REVOKED"
        node.expect(rf"Discarding revoked task: tasks\.tell\[{result.id}\]")
    node.expect(r"\(revoked by header: \{'batch': '8'\}\)")

    # What the only runner had reserved behind a long task goes back, and is asked anew.
    holding = tasks.gate.delay("holds")
    behind = tasks.tell.send_many([((f"behind {n}",), {}) for n in range(20)])
    stage.noted("holds")
    until(lambda: tasks.app.broker.count(["celery"])["celery"].in_flight == 1, what="what waits behind it is back")
    tasks.app.control.revoke([result.id for result in behind])
    (stage.folder / "gate").touch()
    holding.get(timeout=10)
    for result in behind:
        with pytest.raises(TaskRevokedError):
            result.get(timeout=10)
    assert sorted(stage.notes()) == ["holds", "spared"]
    until(lambda: tasks.app.broker.count(["celery"])["celery"] == Counts(), what="nothing is left")


def test_what_runs_is_ended_on_whichever_node(stage: Stage, tasks: ModuleType) -> None:
    stage.node("-c", "2", "-n", "one@%h")
    stage.node("-c", "2", "-n", "two@%h")
    results = {name: getattr(tasks, name).delay(name) for name in ("hold", "early", "tidy", "gate")}
    for name in results:
        stage.noted(name)
    results["gate"].revoke()  # without terminate: it goes on
    tasks.app.control.terminate([results["hold"].id])
    results["early"].revoke(terminate=True, signal="KILL")
    results["tidy"].revoke(terminate=True, signal="SIGUSR1")
    for name in ("hold", "early"):
        with pytest.raises(TaskRevokedError, match=r"^terminated$"):
            results[name].get(timeout=10)
    assert results["tidy"].get(timeout=10) == "tidied"
    (stage.folder / "gate").touch()
    assert results["gate"].get(timeout=10) is None
    assert sorted(stage.notes()) == ["early", "gate", "hold", "tidy"]

    aborted = tasks.until_aborted.delay()
    assert isinstance(aborted, AbortableAsyncResult)
    stage.noted("looks")
    aborted.abort()
    assert aborted.get(timeout=10) == "stopped"
    assert not aborted.is_aborted()
    tasks.until_aborted.AsyncResult("unknown").abort()
    assert tasks.app.AsyncResult("unknown").state == ABORTED
