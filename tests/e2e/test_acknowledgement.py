"""The tables of `docs/acknowledgement.md`: what becomes of a message by its task's options, each cell played."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from celeriac.brokers.base import Counts
from tests.e2e.stage import Stage
from tests.processes import until

TASKS = """
    import os, signal, time
    from celeriac import Celery, signals

    app = Celery("tasks", broker="@url@", backend="@url@")
    app.conf.worker_lease = 1.0
    HERE = "@folder@"

    def note(line):
        with open(os.path.join(HERE, "notes"), "a") as file:
            file.write(line + "\\n")

    def body(self):
        note(self.name)
        if os.path.exists(os.path.join(HERE, "peace")):
            return "survived"
        if os.path.exists(os.path.join(HERE, "war")):
            os.kill(os.getpid(), 9)
        time.sleep(60)

    WORDS = {"unset": None, "true": True, "false": False}
    for late, how in WORDS.items():
        for reject, what in WORDS.items():
            options = {k: v for k, v in {"acks_late": how, "reject_on_worker_lost": what}.items() if v is not None}
            app.task(name=f"{late}.{reject}", bind=True, **options)(body)

    @app.task(bind=True, retry_on_worker_lost=True, max_retries=1, default_retry_delay=0)
    def retried(self):
        note(f"retried {self.request.retries}")
        os.kill(os.getpid(), 9)

    @app.task(acks_on_failure_or_timeout=False)
    def kept():
        raise KeyError("kept")

    @app.task(acks_on_timeout=False, time_limit=0.2)
    def slow():
        note("slow")
        time.sleep(60)

    class Hooked(app.Task):
        def on_failure(self, exc, task_id, args, kwargs, einfo):
            note(f"on_failure {exc!r} {args}")

    @app.task(base=Hooked, time_limit=0.2, acks_late=False)
    def hooked(n):
        time.sleep(60)

    @app.task
    def old_errback(task_id):
        note(f"old {task_id}")

    @app.task
    def new_errback(request, exc, traceback):
        note(f"new {request.id} {exc!r}")

    @signals.task_failure.connect
    def failed(sender=None, task_id=None, exception=None, **more):
        note(f"signal {sender.name} {exception!r}")
"""

WORDS = ("unset", "true", "false")
CELLS = [f"{late}.{reject}" for late, reject in itertools.product(WORDS, WORDS)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, url=f"sqlite:///{tmp_path / 'queue.db'}", folder=tmp_path)
    yield stage
    stage.show()
    stage.close()


@pytest.fixture
def tasks(stage: Stage) -> ModuleType:
    return stage.client()


def came_to(result: Any, within: float = 30) -> Any:
    """The result, or the name of the error."""
    try:
        return result.get(timeout=within)
    except Exception as error:
        return type(error).__name__


def dead(tasks: ModuleType) -> dict[str, str]:
    return {letter.task: letter.reason for letter in tasks.app.broker.dead_letters(["celery"])}


def test_its_runner_dies(stage: Stage, tasks: ModuleType) -> None:
    (stage.folder / "war").touch()
    results = {cell: tasks.app.tasks[cell].delay() for cell in CELLS}
    stage.node("-c", "3")
    assert {cell: came_to(result) for cell, result in results.items()} == dict.fromkeys(CELLS, "WorkerLostError")
    # Acknowledged before it ran, or not to be run again: it failed. Else it ran until it had its strikes.
    once = [cell for cell in CELLS if cell.startswith("false.") or cell.endswith(".false")]
    runs = {cell: stage.notes().count(cell) for cell in CELLS}
    assert runs == {cell: 1 if cell in once else 3 for cell in CELLS}
    assert dead(tasks) == {cell: "lost" for cell in CELLS if cell not in once}
    assert str(results["true.false"].result) == "Worker exited prematurely: signal 9 (SIGKILL)."
    until(lambda: tasks.app.broker.count(["celery"])["celery"] == Counts(dead=4), what="nothing else is left")


def test_its_node_dies(stage: Stage, tasks: ModuleType) -> None:
    results = {cell: tasks.app.tasks[cell].delay() for cell in CELLS}
    first = stage.node("-c", "9", "-P", "threads")
    for cell in CELLS:
        stage.noted(cell)
    (stage.folder / "peace").touch()
    first.kill_tree()
    stage.node("-c", "3")
    # Whatever `reject_on_worker_lost` says: nobody was left to say it. What was acknowledged before is gone.
    late = [cell for cell in CELLS if not cell.startswith("false.")]
    assert {cell: came_to(results[cell]) for cell in late} == dict.fromkeys(late, "survived")
    until(lambda: tasks.app.broker.count(["celery"])["celery"] == Counts(), what="nothing is left")
    assert [results[cell].state for cell in CELLS if cell not in late] == ["PENDING"] * 3
    assert sorted(stage.notes()) == sorted([*CELLS, *late])


def test_other_options_and_who_is_told(stage: Stage, tasks: ModuleType) -> None:
    retried, kept, slow = tasks.retried.delay(), tasks.kept.delay(), tasks.slow.delay()
    hooked = tasks.hooked.apply_async((7,), link_error=[tasks.old_errback.s(), tasks.new_errback.s()])
    stage.node("-c", "3")
    assert came_to(retried) == "WorkerLostError"
    assert [line for line in stage.notes() if line.startswith("retried")] == ["retried 0", "retried 1"]
    assert came_to(kept) == "KeyError"
    assert came_to(slow) == "TimeLimitExceeded"
    assert stage.notes().count("slow") == 3
    assert came_to(hooked) == "TimeLimitExceeded"
    stage.noted(f"old {hooked.id}")
    stage.noted(f"new {hooked.id} TimeLimitExceeded(0.2)")
    stage.noted("on_failure TimeLimitExceeded(0.2) [7]")
    stage.noted("signal tasks.hooked TimeLimitExceeded(0.2)")
    stage.noted("signal tasks.slow TimeLimitExceeded(0.2)")
    # All but the three runs of `slow`, and the signals of their ends, once.
    assert len(stage.notes()) == len(set(stage.notes())) + 4
    assert dead(tasks) == {"tasks.kept": "failed", "tasks.slow": "timeout"}
