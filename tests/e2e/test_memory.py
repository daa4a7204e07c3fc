"""A worker's memory is bounded: by the bytes it reads ahead, and by nothing that grows with the tasks it has run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.faults.nodes import runners
from tests.processes import Node, until

TASKS = """
    import os, time
    from celeriac import Celery

    app = Celery("tasks", broker="sqlite:///@folder@/queue.db")
    app.conf.task_ignore_result = True
    app.conf.worker_read_ahead_bytes = 1_000_000

    @app.task
    def look(data=""):
        pass
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, folder=tmp_path)
    yield stage
    stage.show()
    stage.close()


def test_large_messages_are_read_ahead_by_their_bytes(stage: Stage) -> None:
    tasks = stage.client()
    for _ in range(600):
        tasks.look.delay("x" * 100_000)
    node = stage.node("-c", "1")
    broker, most, memory = tasks.app.broker, 0, 0

    def drained() -> bool:
        nonlocal most, memory
        found = broker.count(["celery"])["celery"]
        most, memory = max(most, found.in_flight), max(memory, node.memory())
        return not found.ready + found.in_flight

    until(drained, within=30, what="all have run")
    # What runs and what was asked for meanwhile: a megabyte each, and one message more.
    assert 1 < most <= 24
    assert memory < 150 << 20


def test_memory_does_not_grow_with_the_tasks_that_have_run(stage: Stage) -> None:
    tasks = stage.client()
    node = stage.node("-c", "1")
    sizes = []
    for _ in range(4):
        for number in range(5000):
            tasks.look.delay(str(number))
        until(lambda: not any(left_of(tasks)), within=60, what="all have run")
        sizes.append(resident(node))
    # After the first thousands have warmed all caches.
    assert all(later - first < 5_000 for first, later in zip(sizes[1], sizes[-1], strict=True)), sizes


def left_of(tasks: object) -> tuple[int, int]:
    found = tasks.app.broker.count(["celery"])["celery"]  # type: ignore[attr-defined]
    return found.ready, found.in_flight


def resident(node: Node) -> list[int]:
    """Kilobytes of supervisor and runner."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in (node.pid, *runners(node))]
    return [int(match[1]) for text in texts if (match := re.search(r"VmRSS:\s+(\d+)", text))]
