"""Projects as they are laid out: settings in a module, tasks found, folders, databases, raw messages, several nodes."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac.exceptions import OperationalError
from tests.e2e.stage import Stage
from tests.processes import until
from tests.servers import RedisServer, free_port

SIMPLE = """
    from celeriac import Celery

    app = Celery("tasks", broker="@broker@", backend="@backend@")

    @app.task
    def add(x, y):
        return x + y

    @app.task
    def write(path, word):
        with open(path, "a") as file:
            file.write(word + "\\n")
"""


@pytest.fixture
def new_stage(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    stages: list[Stage] = []

    def new(name: str = "project", **options: Any) -> Stage:
        folder = tmp_path / name
        folder.mkdir()
        stages.append(Stage(folder, **options))
        return stages[-1]

    yield new
    for stage in stages:
        stage.show()
        stage.close()


def test_settings_in_config_py_and_tasks_in_packages(
    new_stage: Callable[..., Stage], redis_server: RedisServer
) -> None:
    """broker_url in config.py, loaded by name; tasks found by autodiscovery; broker and results in two databases."""
    stage = new_stage()
    broker, backend = redis_server.url(4), redis_server.url(5)
    stage.write("proj/__init__.py", "")
    stage.write(
        "proj/config.py",
        """
        broker_url = "@broker@"
        result_backend = "@backend@"
        task_serializer = "json"
        accept_content = ["json"]
        timezone = "Asia/Shanghai"
        enable_utc = True
        """,
        broker=broker,
        backend=backend,
    )
    stage.write(
        "proj/main.py",
        """
        from celeriac import Celery

        app = Celery("proj")
        app.config_from_object("proj.config")
        app.autodiscover_tasks(["proj.sms", "proj.mail"])
        """,
    )
    for package in ("sms", "mail"):
        stage.write(f"proj/{package}/__init__.py", "")
    stage.write(
        "proj/sms/tasks.py",
        """
        from proj.main import app

        @app.task(name="send_sms_code")
        def send(mobile, code):
            return f"{mobile}: {code}"
        """,
    )
    stage.write(
        "proj/mail/tasks.py",
        """
        from celeriac import shared_task

        @shared_task(ignore_result=True)
        def verify(to): pass
        """,
    )
    node = stage.node("-c", "1", app="proj.main")
    assert "send_sms_code" in node.output()
    assert "proj.mail.tasks.verify" in node.output()
    answer = stage.python(
        """
        from proj.sms.tasks import send
        result = send.delay("13800138000", "666666")
        assert result.get(timeout=10) == "13800138000: 666666"
        print(result.id)
        """
    ).stdout.strip()
    assert redis_server.ask("EXISTS", f"celery-task-meta-{answer}", db=5) == 1
    assert redis_server.ask("EXISTS", f"celery-task-meta-{answer}", db=4) == 0


def test_an_error_in_a_discovered_module_is_shown(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    stage.write("tasks.py", "from celeriac import Celery\napp = Celery('tasks')\napp.autodiscover_tasks(['pkg.sms'])\n")
    stage.write("pkg/__init__.py", "")
    stage.write("pkg/sms/__init__.py", "")
    stage.write("pkg/sms/tasks.py", "import no_such_library\n")
    node = stage.node("-c", "1", start=False)
    node.start(ready=False)
    assert node.wait() == 1
    assert "No module named 'no_such_library'" in node.output()
    assert "pkg/sms/tasks.py" in node.output()


def test_producer_and_worker_in_different_folders_mean_the_same_queue(new_stage: Callable[..., Stage]) -> None:
    """The embedded queue lies beside the app, whatever folder each is started in."""
    stage = new_stage(env={"CELERIAC_HOME": "", "PYTHONPATH": ""})
    stage.env["PYTHONPATH"] = str(stage.folder)
    stage.write("shop/__init__.py", "")
    stage.write(
        "shop/jobs.py", "from celeriac import Celery\napp = Celery()\n\n@app.task\ndef add(x, y): return x + y\n"
    )
    one, two = stage.folder / "one", stage.folder / "two"
    one.mkdir()
    two.mkdir()
    stage.node("-c", "1", app="shop.jobs", cwd=one)
    asked = stage.python("from shop.jobs import add; print(add.delay(20, 22).get(timeout=10))", cwd=two)
    assert asked.stdout == "42\n"
    assert (stage.folder / ".celeriac" / "queue.sqlite3").exists()
    assert list(one.iterdir()) == list(two.iterdir()) == []


def test_a_thousand_calls_are_a_thousand_commands(new_stage: Callable[..., Stage], redis_server: RedisServer) -> None:
    """`delay` is one command and one round trip, whatever else it does; `send_many` a handful for all."""
    stage = new_stage()
    stage.write("tasks.py", SIMPLE, broker=redis_server.url(6), backend=redis_server.url(6))
    tasks = stage.client()
    tasks.add.delay(0, 0)  # connects, declares
    assert _commands(redis_server, lambda: [tasks.add.delay(n, n) for n in range(1000)]) <= 1010
    assert redis_server.ask("LLEN", "celery", db=6) == 1001
    assert _reads(redis_server, lambda: tasks.add.send_many([((n, n), {}) for n in range(1000)])) <= 60
    assert redis_server.ask("LLEN", "celery", db=6) == 2001


def _statistic(server: RedisServer, name: str) -> int:
    return int(server.ask("INFO", "stats").decode().split(f"{name}:")[1].split("\r\n")[0])


def _commands(server: RedisServer, work: Callable[[], object]) -> int:
    before = _statistic(server, "total_commands_processed")
    work()
    return _statistic(server, "total_commands_processed") - before


def _reads(server: RedisServer, work: Callable[[], object]) -> int:
    """How often the server read from a socket: at most that many round trips."""
    before = _statistic(server, "total_reads_processed")
    work()
    return _statistic(server, "total_reads_processed") - before


def test_calls_with_the_broker_away_end_soon_and_clearly(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    port = free_port()
    stage.write("tasks.py", SIMPLE, broker=f"redis://:secret@127.0.0.1:{port}/0", backend=f"redis://127.0.0.1:{port}/1")
    tasks = stage.client()
    began = time.monotonic()
    with pytest.raises(OperationalError, match=str(port)) as caught:
        tasks.add.delay(1, 1)
    assert time.monotonic() - began < 7
    assert "secret" not in str(caught.value)


# -- raw messages ------------------------------------------------------------------------------------------------------


def _envelope(body: bytes = b"[[1, 2], {}, {}]", **changes: Any) -> bytes:
    headers = {"lang": "py", "task": "tasks.add", "id": "raw", **changes.pop("headers", {})}
    whole = {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {name: value for name, value in headers.items() if value is not Ellipsis},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": "tag",
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "delivery_mode": 2,
            "priority": 0,
        },
        **changes,
    }
    return json.dumps(whole).encode()


RAW: dict[str, tuple[bytes, str]] = {
    "garbage": (b"\x00\xff garbage", "undecodable"),
    "empty": (b"", "undecodable"),
    "not an envelope": (b"[1, 2]", "undecodable"),
    "nothing inside": (b"{}", "*"),
    "base64 that is none": (_envelope(body=b"").replace(b'"body": ""', b'"body": "@@@"'), "undecodable"),
    "body that is no JSON": (_envelope(b"[[1, 2], {}, {"), "undecodable"),
    "body of the wrong shape": (_envelope(b'"text"'), "invalid"),
    "args that are none": (_envelope(b'[{"a": 1}, 7, {}]'), "invalid"),
    "unknown content type": (_envelope(**{"content-type": "application/x-odd"}), "disallowed"),
    "pickle": (_envelope(b"\x80\x04K\x01.", **{"content-type": "application/x-python-serialize"}), "disallowed"),
    "no task": (_envelope(headers={"task": ...}), "*"),
    "a task of the wrong type": (_envelope(headers={"task": ["a"]}), "*"),
    "no id": (_envelope(headers={"id": ...}), "*"),
    "an eta that is none": (_envelope(headers={"eta": "soon"}), "invalid"),
    "expires of the wrong type": (_envelope(headers={"expires": {"in": 3}}), "invalid"),
    "retries of the wrong type": (_envelope(headers={"retries": "many"}), "*"),
    "nested too deeply": (_envelope(b"[" * 100_000), "undecodable"),
    "unknown compression": (_envelope(headers={"compression": "application/x-odd"}), "*"),
}


def test_what_cannot_be_read_is_kept_and_the_next_message_runs(
    new_stage: Callable[..., Stage], redis_server: RedisServer
) -> None:
    stage = new_stage()
    broker = redis_server.url(7)
    stage.write("tasks.py", SIMPLE, broker=broker, backend=broker)
    node = stage.node("-c", "1")
    tasks = stage.client()
    members = node.members()
    kept: dict[str, str] = {}
    for name, (payload, _) in RAW.items():
        redis_server.ask("LPUSH", "celery", payload, db=7)
        assert tasks.add.delay(1, 1).get(timeout=10) == 2, name
        letters = until(
            lambda: found if len(found := tasks.app.broker.dead_letters(["celery"])) > len(kept) else None,
            what=f"a dead letter of {name}",
        )
        assert letters[0].payload == payload
        kept[name] = letters[0].reason
    assert {name: reason for name, reason in kept.items() if RAW[name][1] not in (reason, "*")} == {}
    assert node.members() == members
    counts = tasks.app.broker.count(["celery"])["celery"]
    assert (counts.ready, counts.in_flight, counts.dead) == (0, 0, len(RAW))
    listed = stage.cli("-A", "tasks", "dead", "list", "--limit", "100")
    assert len(listed.splitlines()) == len(RAW) + 1
    assert "\\xff garbage" in stage.cli("-A", "tasks", "dead", "show", tasks.app.broker.dead_letters(["celery"])[-1].id)


# -- nodes and queues --------------------------------------------------------------------------------------------------


def test_two_named_nodes_and_two_queues(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    url = f"sqlite:///{stage.folder / 'queue.db'}"
    stage.write("tasks.py", SIMPLE, broker=url, backend=url)
    both = stage.node("-c", "1", "-n", "both@%h", "-Q", "one,two")
    tasks = stage.client()
    for queue in ("one", "two"):
        assert tasks.add.apply_async((1, 1), queue=queue).get(timeout=10) == 2
    unserved = tasks.add.apply_async((1, 1), queue="three")
    assert "both@" in both.output()
    third = stage.node("-c", "1", "-n", "third@shop", "-Q", "three")
    assert unserved.get(timeout=10) == 2
    third.expect(r"third@shop ready\.$")
    assert unserved.id not in both.output()


def test_a_long_task_gives_back_what_waits_behind_it(new_stage: Callable[..., Stage]) -> None:
    """The first node has read ahead when its task turns out long; the second one runs all the rest meanwhile."""
    stage = new_stage()
    url = f"sqlite:///{stage.folder / 'queue.db'}"
    stage.write(
        "tasks.py",
        SIMPLE
        + """
    import os, time

    @app.task
    def step(n, gate):
        while n == 100 and not os.path.exists(gate):
            time.sleep(0.01)
        return os.getppid()
""",
        broker=url,
        backend=url,
    )
    tasks = stage.client()
    gate = str(stage.folder / "gate")
    results = tasks.step.send_many([((n, gate), {}) for n in range(200)])
    stage.node("-c", "1", "-n", "first@%h")
    assert results[99].get(timeout=10)
    second = stage.node("-c", "1", "-n", "second@%h")
    after = [result.get(timeout=10) for result in results[101:]]
    assert results[100].state == "PENDING"
    assert len(set(after)) == 1
    assert set(after) != {results[0].get(timeout=1)}
    Path(gate).touch()
    assert results[100].get(timeout=10) == results[0].get(timeout=1)
    assert second.alive


def test_a_child_that_outlives_its_task_does_not_keep_the_worker(new_stage: Callable[..., Stage]) -> None:
    stage = new_stage()
    url = f"sqlite:///{stage.folder / 'queue.db'}"
    stage.write(
        "tasks.py",
        SIMPLE
        + """
    import subprocess, sys

    @app.task
    def leave_behind():
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid
""",
        broker=url,
        backend=url,
    )
    node = stage.node("-c", "1")
    child = stage.client().leave_behind.delay().get(timeout=10)
    try:
        assert node.stop(within=10) == 0
    finally:
        os.kill(child, signal.SIGKILL)
