"""Time limits and terminations, pool by pool: the table of `docs/time-limits.md`, each cell run."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from celeriac.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from tests.e2e.stage import Stage
from tests.processes import Node, until

TASKS = """
    import asyncio, hashlib, os, time
    from celeriac import Celery

    app = Celery("tasks", broker="@url@", backend="@url@")

    def note(line):
        with open(os.path.join("@folder@", "notes"), "a") as file:
            file.write(line + "\\n")

    def spin(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

    @app.task
    def sleep(seconds):
        note("began")
        time.sleep(seconds)

    @app.task
    def busy(seconds):
        note("began")
        spin(seconds)

    @app.task
    def call(seconds):
        note("began")
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", int(seconds * 5_000_000))
        spin(0.2)  # a limit that was over during the call is told behind it, within the supervisor's next look

    @app.task(name="async.sleep")
    async def async_sleep(seconds):
        note("began")
        await asyncio.sleep(seconds)

    @app.task(name="async.busy")
    async def async_busy(seconds):
        note("began")
        spin(seconds)

    @app.task(name="async.call")
    async def async_call(seconds):
        note("began")
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", int(seconds * 5_000_000))
        spin(0.2)  # a limit that was over during the call is told behind it, within the supervisor's next look

    @app.task
    def beside():
        note("beside")
        for _ in range(10):
            time.sleep(0.1)
        return "unharmed"

    @app.task
    def tidy():
        try:
            time.sleep(60)
        except Exception as error:
            return repr(error)

    @app.task
    def quick():
        return 1
"""

LIMIT = 0.3
LONG = 60.0
#: A call that ends by itself, after the limit.
OVER = 0.6

SOFT, HARD, REVOKED = SoftTimeLimitExceeded, TimeLimitExceeded, TaskRevokedError
#: pool -> body -> (seconds that it runs if it is let, what a soft limit comes to). Bodies that are not told in time end
#: by themselves, and are told then; in a blocked hub not even then.
SOFTLY: dict[str, dict[str, tuple[float, Any]]] = {
    "prefork": {"tasks.sleep": (LONG, SOFT), "tasks.busy": (LONG, SOFT), "tasks.call": (OVER, SOFT)},
    "solo": {"tasks.sleep": (LONG, SOFT), "tasks.busy": (LONG, SOFT), "tasks.call": (OVER, SOFT)},
    "threads": {"tasks.sleep": (OVER, SOFT), "tasks.busy": (LONG, SOFT), "tasks.call": (OVER, SOFT)},
    "asyncio": {"async.sleep": (LONG, SOFT), "async.busy": (LONG, SOFT), "async.call": (OVER, SOFT)},
    "gevent": {"tasks.sleep": (LONG, SOFT), "tasks.busy": (OVER, None), "tasks.call": (OVER, None)},
    "eventlet": {"tasks.sleep": (LONG, SOFT), "tasks.busy": (OVER, None), "tasks.call": (OVER, None)},
}
#: Where a hub or a loop is blocked the next body must wait: so one after the other.
IN_TURN = {"solo", "asyncio", "gevent", "eventlet"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, url=f"sqlite:///{tmp_path / 'queue.db'}", folder=tmp_path)
    yield stage
    stage.show()
    stage.close()


def came_to(result: Any) -> Any:
    """The type of the error; None where there is none."""
    try:
        result.get(timeout=30)
    except Exception as error:
        return type(error)
    return None


@pytest.mark.parametrize("pool", SOFTLY)
def test_limits_and_terminations(stage: Stage, pool: str) -> None:
    if find_spec(pool) is None and pool in ("gevent", "eventlet"):  # not imported: it minds every fork of these tests
        pytest.skip(f"{pool} is not installed")
    tasks = stage.client().app.tasks
    node = stage.node("-P", pool, *([] if pool == "solo" else ["-c", "4"]))
    cells = SOFTLY[pool]

    running = []
    for name, (seconds, _) in cells.items():
        running.append(tasks[name].apply_async((seconds,), soft_time_limit=LIMIT))
        if pool in IN_TURN:
            came_to(running[-1])
    assert [came_to(result) for result in running] == [expected for _, expected in cells.values()]
    node.expect(
        rf"Soft time limit \({LIMIT}s\) exceeded for", times=sum(expected is SOFT for _, expected in cells.values())
    )
    if pool == "solo":
        _terminated_alone(stage, tasks)
        return

    beside = tasks["tasks.beside"].delay() if pool in ("prefork", "threads") else None
    running = [tasks[name].apply_async((LONG,), time_limit=LIMIT) for name in cells]
    assert [came_to(result) for result in running] == [HARD] * 3
    assert str(running[0].result) == f"TimeLimitExceeded({LIMIT},)"
    node.expect(rf"Hard time limit \({LIMIT}s\) exceeded for", times=3)
    if beside is not None:
        assert beside.get(timeout=30) == "unharmed"
        # The process of all threads was ended for one of them: what ran beside it began anew, and nobody blamed it.
        assert stage.notes().count("beside") == (1 if pool == "prefork" else 2)
        if pool == "threads":
            node.expect(r"was ended \(a task exceeded its time limit\): \d+ that ran beside it run again")
    _terminated(stage, tasks, next(iter(cells)) if pool != "threads" else "tasks.busy")
    assert tasks["tasks.quick"].delay().get(timeout=20) == 1


def _terminated(stage: Stage, tasks: Any, name: str) -> None:
    began = stage.notes().count("began")
    result = tasks[name].delay(LONG)
    until(lambda: stage.notes().count("began") > began, within=20, what="it runs")
    result.revoke(terminate=True)
    assert came_to(result) is REVOKED
    assert str(result.result) == "terminated"


def _terminated_alone(stage: Stage, tasks: Any) -> None:
    _terminated(stage, tasks, "tasks.sleep")
    # What comes with the message alone is told and not kept: nothing can end the only process there is.
    result = tasks["tasks.sleep"].apply_async((LIMIT + 0.2,), time_limit=LIMIT)
    assert came_to(result) is None
    stage.nodes[0].expect("which -P solo cannot keep")


def test_options_of_the_command_line_and_what_solo_cannot_keep(stage: Stage) -> None:
    tasks = stage.client().app.tasks
    node = stage.node("-c", "1", "--soft-time-limit", "0.3", "--time-limit", "0.8")
    assert tasks["tasks.tidy"].delay().get(timeout=10) == "SoftTimeLimitExceeded(0.3)"
    assert came_to(tasks["tasks.call"].delay(LONG)) is HARD
    node.expect(r"Hard time limit \(0\.8s\) exceeded for tasks\.call\[")
    refused: Node = stage.node("-P", "solo", "--time-limit", "0.8", start=False)
    refused.start(ready=False)
    assert refused.wait(within=20) == 1
    assert "task_time_limit=0.8 (--time-limit). Use -P prefork, or soft_time_limit" in refused.output()
