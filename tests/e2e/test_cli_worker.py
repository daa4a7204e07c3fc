"""`celeriac worker` as it is started and stopped: options, banner, log, exit codes. Not what its tasks come to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Node, Process, until
from tests.servers import RedisServer

TASKS = """
from celeriac import Celery
from celeriac.utils.log import get_task_logger

app = Celery("tasks")
log = get_task_logger(__name__)

@app.task
def say(text):
    log.info("说：%s", text)
    print("printed", text)
    return text

@app.task(queue="other")
def elsewhere():
    return "elsewhere"
"""


@pytest.fixture(autouse=True)
def tasks(tmp_path: Path) -> Path:
    """tasks.py in the test's folder."""
    path = tmp_path / "tasks.py"
    path.write_text(TASKS, encoding="utf-8")
    return path


def call(folder: Path, *args: str) -> str:
    """Send a task by the command line; returns its id."""
    command = [sys.executable, "-m", "celeriac", "-A", "tasks", "call", *args]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_the_banner_tells_what_runs_here(new_node: Callable[..., Node], new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis(password="s3cret", appendfsync=None)
    node = new_node("tasks", "-c", "2", "-n", "shop@%h", "-Q", "one,two", "-b", server.url(1))
    node.start()
    banner = node.output()
    for line in (
        "shop@",
        f":**@127.0.0.1:{server.port}/1",
        "2 (prefork)",
        "one",
        "two",
        "tasks.say",
        "tasks.elsewhere",
    ):
        assert line in banner
    assert "s3cret" not in banner
    assert node.stop() == 0


@pytest.mark.parametrize(
    "arguments", [["worker", "-A", "tasks", "--loglevel=info"], ["--app=tasks", "worker", "-linfo"]]
)
def test_options_on_either_side_of_the_command(new_process: Callable[..., Process], arguments: list[str]) -> None:
    node = new_process([sys.executable, "-m", "celeriac", *arguments, "-c", "1"])
    node.start()
    node.expect(r"INFO/MainProcess\] celery@.* ready\.$")
    assert node.stop() == 0


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_chinese_in_the_log_under_the_c_locale(new_node: Callable[..., Node], tmp_path: Path, pool: str) -> None:
    locale = {name: "" for name in os.environ if name.startswith("LC_")} | {"LANG": "C", "PYTHONUTF8": "0"}
    node = new_node("tasks", "-c", "1", "-P", pool, env=locale)
    node.start()
    task_id = call(tmp_path, "say", "--args", '["你好"]')
    node.expect(rf"tasks\.say\[{task_id}\]: 说：你好$")
    node.expect(r"WARNING/\w+(-\d)?\] printed 你好$")
    assert node.stop() == 0


def test_the_log_goes_to_a_file_when_asked(new_process: Callable[..., Process], tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celeriac", "-A", "tasks", "worker", "-c", "1", "-l", "info", "-f", str(log)]
    node = new_process(command)
    node.start()
    until(lambda: log.exists() and "ready." in log.read_text(encoding="utf-8"), within=20, what="ready in the file")
    task_id = call(tmp_path, "say", "--args", '["文件"]')
    until(
        lambda: f"tasks.say[{task_id}]: 说：文件" in log.read_text(encoding="utf-8"), within=20, what="the task's line"
    )
    assert node.stop() == 0
    assert "INFO" not in node.output()


def test_only_the_named_queues_are_consumed(new_node: Callable[..., Node], tmp_path: Path) -> None:
    left = call(tmp_path, "say", "--args", '["left"]')
    taken = call(tmp_path, "elsewhere", "--queue", "other")
    node = new_node("tasks", "-c", "1", "-Q", "other")
    node.start()
    node.expect(rf"tasks\.elsewhere\[{taken}\] succeeded")
    node.stop()
    assert left not in node.output()


def test_purge_empties_the_queues_before_the_start(new_node: Callable[..., Node], tmp_path: Path) -> None:
    gone = call(tmp_path, "say", "--args", '["gone"]')
    node = new_node("tasks", "-c", "1", "--purge")
    node.start()
    kept = call(tmp_path, "say", "--args", '["kept"]')
    node.expect(rf"tasks\.say\[{kept}\] succeeded")
    node.stop()
    assert gone not in node.output()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_an_import_error_in_the_app_is_shown_whole_and_ends_the_start(
    new_process: Callable[..., Process], tasks: Path, pool: str
) -> None:
    tasks.write_text("import tasks_helper\n")
    tasks.with_name("tasks_helper.py").write_text("value = 1 / 0\n")
    node = new_process([sys.executable, "-m", "celeriac", "-A", "tasks", "worker", "-P", pool])
    node.start()
    assert node.wait(within=20) == 1
    output = node.output()
    assert output.count("Traceback (most recent call last):") == 1
    assert "tasks_helper.py" in output
    assert "ZeroDivisionError: division by zero" in output


@pytest.mark.parametrize("app", ["nowhere", "tasks:missing", "os"])
def test_an_app_that_is_not_there_is_named_without_a_traceback(new_process: Callable[..., Process], app: str) -> None:
    node = new_process([sys.executable, "-m", "celeriac", "-A", app, "worker"])
    node.start()
    assert node.wait(within=20) == 1
    assert f"No app was found for {app!r}" in node.output()
    assert "Traceback" not in node.output()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_every_way_of_stopping_leaves_nothing_behind(
    new_node: Callable[..., Node], how: signal.Signals, pool: str
) -> None:
    node = new_node("tasks", "-c", "2", "-P", pool)
    node.start()
    assert node.stop(how=how) == 0
    node.assert_gone(within=2)


def test_a_script_may_start_its_own_worker(new_process: Callable[..., Process], tasks: Path, tmp_path: Path) -> None:
    tasks.write_text(TASKS + "\nif __name__ == '__main__':\n    app.worker_main(['worker', '-l', 'info', '-c', '1'])\n")
    node = new_process([sys.executable, "tasks.py"])
    node.start()
    node.expect(r"ready\.$")
    task_id = call(tmp_path, "say", "--args", '["script"]')
    node.expect(rf"tasks\.say\[{task_id}\] succeeded")
    assert node.stop() == 0
