"""Under those who start and stop workers for a living: systemd, supervisor, probes, rolling restarts."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from celeriac.brokers.base import Counts
from tests.e2e.stage import Stage
from tests.processes import Process, until
from tests.servers import RedisServer, free_port

ROOT = Path(__file__).parents[2]
TASKS = """
    import os, time
    from celeriac import Celery

    app = Celery("tasks", broker="@broker@", backend="@broker@")
    app.conf.task_default_queue = os.environ.get("QUEUE", "celery")

    def note(text):
        fd = os.open("@folder@/notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, (text + "\\n").encode())
        os.close(fd)

    @app.task
    def work(n, seconds):
        note(f"began {n}")
        time.sleep(seconds)
        note(f"ended {n}")
        return n
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    stage.write("tasks.py", TASKS, folder=tmp_path, broker=f"sqlite:///{tmp_path}/queue.db")
    yield stage
    stage.show()
    stage.close()


def load(stage: Stage, count: int, every: int) -> list[tuple[tuple[int, float], dict[str, object]]]:
    """Tasks of no time at all, and one of 0.2 s for every so many."""
    return [((n, 0.2 if n % every == 0 else 0.0), {}) for n in range(count)]


def check_all_ran_once(stage: Stage, count: int) -> None:
    """Nothing was lost, and nothing that had ended ran again; nor did anything else, for all ended in their time."""
    notes = stage.notes()
    assert sorted(notes) == sorted(f"{what} {n}" for n in range(count) for what in ("began", "ended"))


@pytest.mark.parametrize("engine", ["sqlite", "redis"])
def test_a_rolling_restart_under_load(stage: Stage, engine: str, request: pytest.FixtureRequest) -> None:
    """As Kubernetes does it: the successor first, SIGTERM for the old one, three times; tasks flow meanwhile."""
    if engine == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        stage.write("tasks.py", TASKS, folder=stage.folder, broker=server.url(5))
    tasks = stage.client()
    old = [stage.node("-c", "2", "-n", f"old{n}@%h") for n in range(3)]
    count, results = 1500, []
    parts = load(stage, count, 50)
    for turn, node in enumerate(old):
        results += tasks.work.send_many(parts[turn * 500 : turn * 500 + 500])
        begun = turn * 500 + 30
        until(lambda: sum(line.startswith("began") for line in stage.notes()) >= begun, what="tasks run", within=30)  # noqa: B023
        stage.node("-c", "2", "-n", f"new{turn}@%h")
        assert node.stop(within=20) == 0
    for result in results:
        assert result.get(timeout=30) is not None
    check_all_ran_once(stage, count)
    assert tasks.app.broker.count(["celery"])["celery"] == Counts()


def test_systemd_is_told(stage: Stage) -> None:
    path = stage.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(15)
        node = stage.node("-c", "1", env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"})

        def said(what: str) -> str:
            while what not in (text := manager.recv(4096).decode()):
                pass
            return text

        assert f"MAINPID={node.pid}\n" in said("READY=1")
        for _ in range(3):
            said("WATCHDOG=1")
        node.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in said("RELOADING=1")
        said("READY=1")
        started = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        assert started
        for pid in started:
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes(), (
                "tasks would speak for the service"
            )
        node.signal(signal.SIGTERM)
        said("STOPPING=1")
        assert node.wait(within=10) == 0


def test_health_of_a_real_worker(stage: Stage, new_redis: object) -> None:
    assert callable(new_redis)
    server: RedisServer = new_redis()
    stage.write("tasks.py", TASKS, folder=stage.folder, broker=server.url())
    port = free_port()
    node = stage.node("-c", "1", "--health-port", str(port))
    until(lambda: probe(port, "/readyz")[0] == 200, what="ready")
    status, facts = probe(port, "/healthz")
    assert (status, facts["runners_ready"], facts["pid"]) == (200, 1, node.pid)

    second = stage.node("-n", "second", "--health-port", str(port), start=False)
    second.start(ready=False)
    assert second.wait(within=10) == 71
    assert f"health cannot be served on 127.0.0.1 port {port}: Address already in use" in second.output()

    stage.client().work.delay(1, 3)
    until(lambda: stage.notes() == ["began 1"], what="a task runs")
    server.pause()
    until(lambda: probe(port, "/readyz")[0] == 503, within=20, what="not ready without a broker")
    assert probe(port, "/healthz")[0] == 200
    server.resume()
    until(lambda: probe(port, "/readyz")[0] == 200, within=20, what="ready again")
    stage.client().work.delay(2, 1)
    until(lambda: "began 2" in stage.notes(), what="the next task runs")
    node.signal(signal.SIGTERM)
    until(lambda: probe(port, "/readyz")[1]["checks"]["stopping"], what="it is known to stop")
    assert node.wait(within=10) == 0


def probe(port: int, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.skipif(shutil.which("supervisord", path=str(Path(sys.executable).parent)) is None, reason="no supervisord")
def test_under_supervisor(stage: Stage) -> None:
    """With the file of docs/: start, a restart under load, a stop of the whole group."""
    config = (ROOT / "docs" / "examples" / "supervisord.conf").read_text()
    for given, ours in {
        "/srv/proj/venv/bin/celeriac": f"{sys.executable} -m celeriac",
        "/srv/proj": str(stage.folder),
        "-A proj": "-A tasks",
        "user=celeriac\n": "",
        "/var/log/celeriac": str(stage.folder),
    }.items():
        assert given in config
        config = config.replace(given, ours)
    here = f"[supervisord]\nnodaemon=true\nlogfile=s.log\npidfile=s.pid\n[unix_http_server]\nfile={stage.folder}/s\n"
    here += "[rpcinterface:supervisor]\n"
    here += "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
    here += f"[supervisorctl]\nserverurl=unix://{stage.folder}/s\n"
    stage.write("supervisord.conf", here + config)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"]
    manager = Process(command, cwd=stage.folder, log=stage.folder / "supervisord.out")
    manager.start()

    def control(*words: str) -> str:
        run = [sys.executable, "-m", "supervisor.supervisorctl", "-c", "supervisord.conf", *words]
        return subprocess.run(run, cwd=stage.folder, capture_output=True, text=True, check=False, timeout=60).stdout

    try:
        until(lambda: control("status").count("RUNNING") == 2, within=30, what="two workers run")
        results = stage.client().work.send_many(load(stage, 1000, 50))
        until(lambda: len(stage.notes()) > 20, what="tasks run")
        assert control("restart", "celeriac:*").count("started") == 2
        for result in results:
            assert result.get(timeout=30) is not None
        check_all_ran_once(stage, 1000)
        stage.client().work.delay(-1, 1)
        until(lambda: "began -1" in stage.notes(), what="one task runs")
        assert control("stop", "celeriac:*").count("stopped") == 2
        assert stage.notes()[-1] == "ended -1", "what ran has ended"
        assert stage.client().app.broker.count(["celery"])["celery"] == Counts()
    finally:
        print(manager.output(), *(log.read_text() for log in stage.folder.glob("*.log")), sep="\n")
        manager.stop()
        manager.assert_gone()
