"""The command line as a user types it: real processes, the embedded queue, no worker but where one is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import Node, until
from tests.servers import RedisServer, free_port

TASKS = """
from celeriac import Celery

app = Celery("tasks")

@app.task
def add(x, y):
    return x + y

@app.task
def greet(name):
    return f"你好 {name}"

@app.task
def fail(text):
    raise ValueError(text)

@app.task(name="pkg.one.twin")
def first(): pass

@app.task(name="pkg.two.twin")
def second(): pass
"""

Run = subprocess.CompletedProcess[str]
Cli = Callable[..., Run]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Runs `celeriac …` in a folder with tasks.py, to its end."""
    (tmp_path / "tasks.py").write_text(TASKS, encoding="utf-8")

    def run(*args: str) -> Run:
        return subprocess.run(
            [sys.executable, "-m", "celeriac", *args],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run


def said(run: Run) -> str:
    """Stdout of a command that worked."""
    assert run.returncode == 0, run.stderr
    return run.stdout


def row(table: str, *starts: str) -> list[str]:
    """The cells of the line that begins with these."""
    for line in table.splitlines():
        cells = re.split(r"  +", line)
        if tuple(cells[: len(starts)]) == starts:
            return cells
    raise AssertionError(f"no line {starts} in\n{table}")


def test_call_prints_the_id_and_the_message_waits(cli: Cli) -> None:
    task_id = said(cli("-A", "tasks", "call", "tasks.add", "--args", "[2, 2]")).strip()
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", task_id)
    assert said(cli("call", "add", "-A", "tasks", "--args=[1, 1]", "--task-id=mine")) == "mine\n"
    assert row(said(cli("-A", "tasks", "queues")), "celery")[1] == "2"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ad", "no task 'ad' (did you mean 'tasks.add'?)"),
        ("tasks.greets", "no task 'tasks.greets' (did you mean 'tasks.greet'?)"),
        ("twin", "'twin' is the end of several tasks, name one: pkg.one.twin, pkg.two.twin"),
        ("nonsense", "no task 'nonsense'; there are pkg.one.twin, pkg.two.twin, tasks.add, tasks.fail, tasks.greet"),
    ],
)
def test_an_unknown_task_is_refused_with_the_nearest(cli: Cli, name: str, text: str) -> None:
    run = cli("-A", "tasks", "call", name)
    assert (run.returncode, run.stdout) == (2, "")
    assert text in run.stderr
    assert run.stderr.count("\n") == 1


def test_arguments_are_checked_before_anything_is_sent(cli: Cli) -> None:
    run = cli("-A", "tasks", "call", "add", "--args=[2]")
    assert run.returncode == 2
    assert "missing 1 required positional argument: 'y'" in run.stderr
    assert row(said(cli("-A", "tasks", "queues")), "celery")[1] == "0"


def test_results_are_waited_for_and_failures_say_which(cli: Cli, new_node: Callable[..., Node]) -> None:
    new_node("tasks", "-c", "1").start()
    good = said(cli("-A", "tasks", "call", "greet", "--kwargs", '{"name": "世界"}')).strip()
    assert said(cli("-A", "tasks", "result", good, "--timeout", "20")) == "你好 世界\n"
    bad = said(cli("-A", "tasks", "call", "fail", "--args", '["broken"]')).strip()
    run = cli("-A", "tasks", "result", bad, "--timeout", "20")
    assert run.returncode == 1
    assert run.stderr.startswith("celeriac: error: FAILURE: ValueError: broken")
    trace = said(cli("-A", "tasks", "result", bad, "--traceback"))
    assert "raise ValueError(text)" in trace
    assert trace.rstrip().endswith("ValueError: broken")


def test_a_result_that_never_comes_is_waited_for_no_longer_than_asked(cli: Cli) -> None:
    run = cli("-A", "tasks", "result", "no-such-id", "--timeout", "0.05")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "celeriac: error: no result within 0.05 s; the state is PENDING\n"


def test_purge_needs_a_yes(cli: Cli) -> None:
    said(cli("-A", "tasks", "call", "add", "--args=[1, 1]"))
    run = cli("-A", "tasks", "purge")
    assert run.returncode == 2
    assert "use -f to purge without asking" in run.stderr
    assert row(said(cli("-A", "tasks", "queues")), "celery")[1] == "1"
    assert said(cli("-A", "tasks", "purge", "-f")) == "Purged 1 message from 1 known task queue.\n"
    assert said(cli("-A", "tasks", "purge", "-f", "-Q", "celery,other")) == "No messages purged from 2 queues.\n"


def test_dead_letters_are_listed_shown_and_sent_again(cli: Cli, new_node: Callable[..., Node], tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text(
        "from celeriac import Celery\n"
        "app = Celery('stranger')\n"
        "if __name__ == '__main__':\n"
        "    app.send_task('tasks.missing', [1, '二'], task_id='lost-1')\n"
    )
    subprocess.run([sys.executable, "stranger.py"], cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    node = new_node("tasks", "-c", "1")
    node.start()
    until(lambda: "lost-1" in said(cli("-A", "tasks", "dead", "list")), within=20, what="the dead letter")
    node.stop()
    listed = said(cli("-A", "tasks", "dead", "list"))
    assert "unregistered" in listed
    assert "tasks.missing" in listed
    shown = said(cli("-A", "tasks", "dead", "show", "lost-1"))
    assert "reason:  unregistered" in shown
    assert '"task": "tasks.missing"' in shown
    unknown = cli("-A", "tasks", "dead", "show", "other")
    assert unknown.returncode == 1
    assert "no dead letter other" in unknown.stderr
    assert said(cli("-A", "tasks", "dead", "requeue", "lost-1")) == "Sent again: 1.\n"
    counts = row(said(cli("-A", "tasks", "queues")), "celery")
    assert (counts[1], counts[5]) == ("1", "0")
    assert said(cli("-A", "tasks", "dead", "list")) == "No dead letters.\n"


def test_delayed_messages_are_listed_and_handed_back(cli: Cli, new_node: Callable[..., Node]) -> None:
    said(cli("-A", "tasks", "call", "add", "--args=[1, 1]", "--countdown=3600", "--task-id=later"))
    node = new_node("tasks", "-c", "1")
    node.start()
    until(lambda: "later" in said(cli("-A", "tasks", "delayed", "list")), within=20, what="it is put off")
    node.stop()
    assert row(said(cli("-A", "tasks", "queues")), "celery", "0", "1")
    assert "tasks.add" in said(cli("-A", "tasks", "delayed", "list"))
    assert said(cli("-A", "tasks", "delayed", "release")) == "Handed back: 1.\n"
    assert row(said(cli("-A", "tasks", "queues")), "celery", "1", "0")
    assert said(cli("-A", "tasks", "delayed", "list")) == "Nothing is put off.\n"


def test_an_error_in_the_users_module_is_shown_whole(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import tasks\n\ndef inner():\n    return 1 / 0\n\ninner()\n")
    run = cli("-A", "broken", "call", "add")
    assert run.returncode == 1
    assert run.stderr.startswith("Traceback (most recent call last):\n")
    assert "broken.py" in run.stderr
    assert "return 1 / 0" in run.stderr
    assert run.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert "session.py" not in run.stderr


def test_an_error_in_the_users_settings_is_shown_whole(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("broker_url = undefined_name\n")
    run = cli("-A", "tasks", "--config", "conf", "queues")
    assert run.returncode == 1
    assert "conf.py" in run.stderr
    assert run.stderr.endswith("NameError: name 'undefined_name' is not defined\n")
    assert cli("-A", "tasks", "--config", "nope", "queues").stderr == "ModuleNotFoundError: No module named 'nope'\n"


def test_without_a_result_backend_the_setting_is_named(cli: Cli) -> None:
    run = cli("-A", "tasks", "--result-backend", "disabled://", "result", "some-id")
    assert run.returncode == 1
    assert run.stderr.startswith("celeriac: error: No result backend is configured.")
    assert "result_backend" in run.stderr


def test_a_module_that_is_not_there_is_one_error_and_no_traceback(cli: Cli) -> None:
    run = cli("-A", "nowhere.app", "queues")
    assert run.returncode == 1
    assert "No module named 'nowhere'" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_broker_that_is_away_fails_in_bounded_time(cli: Cli) -> None:
    run = cli("-b", f"redis://:s3cret@127.0.0.1:{free_port()}/0", "-A", "tasks", "call", "add", "--args=[1, 1]")
    assert run.returncode == 1
    assert run.stderr.startswith("celeriac: error: ")
    assert "s3cret" not in run.stderr
    assert "Traceback" not in run.stderr


def test_a_broker_is_enough_to_look_into_queues_and_to_send(cli: Cli, redis_server: RedisServer) -> None:
    url = redis_server.url(5)
    assert said(cli("-b", url, "call", "any.name", "--args=[1]", "--task-id=free")) == "free\n"
    assert row(said(cli("-b", url, "queues")), "celery")[1] == "1"
    assert redis_server.ask("LLEN", "celery", db=5) == 1
    assert said(cli("-b", url, "purge", "-f", "-Q", "celery")) == "Purged 1 message from 1 known task queue.\n"
