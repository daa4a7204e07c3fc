"""What a node may use: processes that are replaced, rates, memory, and a number of slots that follows the backlog."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.processes import until

TASKS = """
    import os, time
    from celeriac import Celery

    app = Celery("tasks", broker="sqlite:///@folder@/queue.db", backend="sqlite:///@folder@/queue.db")
    kept = []

    @app.task
    def pid():
        note("run", os.getpid())
        return os.getpid()

    @app.task
    def keep(megabytes):
        kept.append(bytearray(megabytes << 20))
        return os.getpid()

    @app.task(rate_limit="5/s")
    def limited():
        note("limited", time.time())

    @app.task(rate_limit="1/h")
    def rare():
        note("rare", os.getpid())

    @app.task
    def gated():
        note("began", os.getpid())
        while not os.path.exists("@folder@/gate"):
            time.sleep(0.01)

    def note(*words):
        with open("@folder@/notes", "a") as notes:
            print(*words, file=notes)
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, folder=tmp_path)
    yield stage
    (tmp_path / "gate").touch()
    stage.show()
    stage.close()


@pytest.mark.parametrize(("pool", "most"), [("prefork", 1), ("prefork", 4), ("threads", 4)])
def test_processes_run_as_many_tasks_as_they_may_and_no_false_start_is_counted(
    stage: Stage, pool: str, most: int
) -> None:
    pid = stage.client().pid
    results = [pid.delay() for _ in range(8 * most)]
    node = stage.node("-c", "2", "-P", pool, "--max-tasks-per-child", str(most))
    runs = Counter(result.get(timeout=30) for result in results)
    assert max(runs.values()) <= most
    assert len(stage.notes()) == len(results)
    assert node.stop() == 0
    assert not re.search("ERROR|CRITICAL|Traceback", node.output())


def test_of_many_slots_those_that_are_free_go_to_the_successor_while_the_last_tasks_end(stage: Stage) -> None:
    tasks = stage.client()
    gated = [tasks.gated.delay()]
    stage.node("-c", "4", "-P", "threads", "--max-tasks-per-child", "4")
    until(lambda: len(stage.notes()) == 1, what="it runs")
    first = {tasks.pid.delay().get(timeout=20) for _ in range(3)}
    assert len(first) == 1  # and that process may begin no other
    gated += [tasks.gated.delay() for _ in range(5)]
    until(lambda: sum(line.startswith("began") for line in stage.notes()) == 4, what="all four slots are used")
    assert tasks.app.broker.count(["celery"])["celery"].ready == 2
    (stage.folder / "gate").touch()
    for result in gated:
        result.get(timeout=20)


def test_a_process_that_has_grown_is_replaced_after_its_task_and_the_log_names_it(stage: Stage) -> None:
    keep = stage.client().keep
    node = stage.node("-c", "1", "--max-memory-per-child", "120000")
    pids = [keep.delay(100).get(timeout=30) for _ in range(2)]
    assert pids[0] != pids[1]
    node.expect(rf"process {pids[0]} takes \d+ kB after task tasks\.keep, more than 120000 kB")


def test_a_limit_that_a_fresh_process_exceeds_is_told_and_not_kept(stage: Stage) -> None:
    pid = stage.client().pid
    node = stage.node("-c", "1", "--max-memory-per-child", "1000")
    assert len({pid.delay().get(timeout=30) for _ in range(3)}) == 1
    node.expect("before its first task, more than worker_max_memory_per_child")


def test_rate_limited_tasks_of_all_runners_together_keep_their_rate_and_hold_up_nobody(stage: Stage) -> None:
    tasks = stage.client()
    for _ in range(15):
        tasks.limited.delay()
    others = [tasks.pid.delay() for _ in range(20)]
    stage.node("-c", "3")
    for result in others:
        result.get(timeout=10)
    assert sum(line.startswith("limited") for line in stage.notes()) < 15
    until(lambda: sum(line.startswith("limited") for line in stage.notes()) == 15, within=20, what="all have run")
    starts = sorted(float(line.split()[1]) for line in stage.notes() if line.startswith("limited"))
    assert all(later - first > 0.9 for first, later in zip(starts, starts[6:], strict=False))
    assert starts[-1] - starts[0] < 6.0


def test_a_limit_is_changed_while_workers_run_and_for_those_that_start_later(stage: Stage) -> None:
    tasks = stage.client()
    node = stage.node("-c", "2")
    tasks.app.control.rate_limit("tasks.rare", 200)
    node.expect(r"New rate limit for tasks of type tasks\.rare: 200\.")
    for result in [tasks.rare.delay() for _ in range(10)]:
        result.get(timeout=10)
    assert node.stop() == 0
    stage.node("-c", "1").expect(r"New rate limit for tasks of type tasks\.rare: 200\.")


def test_a_node_above_its_memory_reserves_nothing_until_it_has_replaced_who_keeps_it(stage: Stage) -> None:
    tasks = stage.client()
    node = stage.node("-c", "1", "--max-memory", "150M")
    first = tasks.keep.delay(150).get(timeout=30)
    node.expect(r"takes \d+ MB, more than 150 MB: it reserves nothing")
    later = tasks.pid.delay()
    node.expect(r"takes \d+ MB of 150 MB: it goes on")
    assert later.get(timeout=30) != first


def test_autoscale_starts_as_many_as_the_backlog_needs_and_takes_them_back(stage: Stage) -> None:
    tasks = stage.client()
    node = stage.node("--autoscale", "5,1", env={"AUTOSCALE_KEEPALIVE": "1"})
    results = [tasks.gated.delay() for _ in range(12)]
    until(lambda: len(set(stage.notes())) == 5, within=20, what="five run")
    node.expect(r"autoscale: 5 slots instead of \d")
    (stage.folder / "gate").touch()
    for result in results:
        result.get(timeout=20)
    node.expect(r"autoscale: 1 slots instead of \d")
    assert tasks.pid.delay().get(timeout=10)
    assert "exited with" not in node.output()
