"""Every signal of a task and of a worker, heard in our processes and in real Celery's: the same names, the same keyword
arguments, the same senders. And receivers that hang or die, which harm nobody."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Node, Process, until
from tests.servers import RedisServer

pytest.importorskip("celery")

TEXT = """
import json, os, sys, time
from {library} import Celery, signals
from {library}.utils.dispatch import Signal

app = Celery("shop", broker="{broker}", backend="{backend}")
app.conf.task_default_queue = "{library}"

@app.task
def add(x, y):
    return x + y

@app.task
def fail():
    raise ValueError("no")

@app.task(bind=True, max_retries=1)
def again(self):
    raise self.retry(countdown=0, exc=ValueError("again"))

@app.task(acks_late=True, reject_on_worker_lost=False, ignore_result=True)
def die():
    os.kill(os.getpid(), 9)

def shown(value):
    if value is None or isinstance(value, str):
        return value
    return "task " + value.name if getattr(value, "name", None) in app.tasks else "object"

def listen(name):
    def receiver(signal=None, sender=None, **named):
        # of which the names are compared, and these values
        some = {{key: named[key] for key in ("state", "sig", "how", "expired", "terminated", "exitcode", "loglevel")
                if key in named}}
        line = json.dumps([name, sorted(named), shown(sender), some, os.getpid()]) + "\\n"
        with open("{notes}", "a") as notes:
            notes.write(line)
    return receiver

for name, signal in list(vars(signals).items()):
    if isinstance(signal, Signal) and name != "setup_logging":
        signal.connect(listen(name), weak=False)
app.on_after_configure.connect(listen("on_after_configure"), weak=False)
app.on_after_finalize.connect(listen("on_after_finalize"), weak=False)
"""

CALLS = """
import shop
results = [shop.add.delay(1, 2), shop.add.apply_async((1, 2), expires=-10), shop.again.delay(), shop.fail.delay()]
assert results[0].get(timeout=15) == 3
for result in results[1:]:
    result.get(timeout=15, propagate=False)
shop.app.send_task("shop.nobody", (1,), ignore_result=True)
shop.die.delay()
"""

#: Sent by what we do not have, or in circumstances that a test cannot make.
ELSEWHERE = {"task_internal_error", "heartbeat_sent", "beat_init", "beat_embedded_init", "user_preload_options"}


def no_call() -> bytes:
    """A message without a task."""
    properties = {"delivery_tag": "1", "delivery_mode": 2, "body_encoding": "base64"}
    properties["delivery_info"] = {"exchange": "", "routing_key": "x"}  # type: ignore[assignment]
    body = base64.b64encode(b"{}").decode()
    envelope = {"body": body, "headers": {}, "content-type": "application/json", "content-encoding": "utf-8"}
    return json.dumps({**envelope, "properties": properties}).encode()


def play(library: str, folder: Path, server: RedisServer) -> list[list[Any]]:
    """One life of a worker, with a task of each fate. Returns what was heard."""
    folder.mkdir()
    notes = folder / "notes"
    urls = {"broker": server.url(0), "backend": server.url(1)}
    (folder / "shop.py").write_text(TEXT.format(library=library, notes=notes, **urls), encoding="utf-8")
    if library == "celeriac":
        worker: Process = Node("shop", "-c", "2", "-n", "here@host", cwd=folder, log=folder / "log")
        worker.start()
    else:
        command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-c", "2", "-n", "here@host", "-l", "INFO"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        worker = Process([*command, *quiet], cwd=folder, log=folder / "log")
        worker.start()
        worker.expect(r"ready\.$")
    try:
        server.ask("LPUSH", library, no_call())
        subprocess.run([sys.executable, "-c", CALLS], cwd=folder, check=True, timeout=60, env={**os.environ})

        def heard() -> set[str]:
            return {json.loads(line)[0] for line in notes.read_text().splitlines()}

        until(lambda: {"task_unknown", "task_rejected", "task_revoked", "task_retry"} <= heard(), within=15, what="all")
        until(lambda: notes.read_text().count('"task_postrun"') == 4, within=15, what="every run's end")
        until(lambda: notes.read_text().count('"task_failure"') == 3, within=15, what="the end of a lost one")
    finally:
        worker.stop(within=30)
        print(f"---- {library}\n{worker.output()}")
    worker.assert_gone()
    return [json.loads(line) for line in notes.read_text().splitlines()]


def test_what_is_heard_is_what_celery_tells(tmp_path: Path, redis_server: RedisServer) -> None:
    theirs = play("celery", tmp_path / "celery", redis_server)
    ours = play("celeriac", tmp_path / "celeriac", redis_server)

    def kinds(heard: list[list[Any]]) -> dict[str, list[str]]:
        """Each signal, with the arguments it is sent with and its senders."""
        said: dict[str, set[str]] = {}
        for name, arguments, sender, some, _ in heard:
            if name not in ELSEWHERE:
                said.setdefault(name, set()).add(f"{arguments} {sender} {some}")
        return {name: sorted(each) for name, each in sorted(said.items())}

    assert kinds(ours) == kinds(theirs)
    assert len(kinds(ours)) >= 26
    where = {name: {pid for *_, pid in [one for one in ours if one[0] == name]} for name, *_ in ours}
    assert where["worker_init"] == where["celeryd_init"] == where["worker_before_create_process"]
    assert 2 <= len(where["worker_process_init"]) <= 3  # one died, and the node may have stopped before another came
    assert where["worker_process_shutdown"] < where["worker_process_init"]
    assert where["worker_ready"] == where["worker_shutting_down"] == where["worker_shutdown"]
    assert not where["worker_ready"] & (where["worker_init"] | where["worker_process_init"])
    names = [name for name, *_ in ours]
    assert names.index("worker_init") < names.index("worker_process_init") < names.index("task_prerun")
    assert names.count("worker_ready") == names.count("worker_shutdown") == names.count("worker_init") == 1


BAD = """
import os, sys, threading, time
from celeriac import Celery, signals

app = Celery("bad", broker="sqlite:///{folder}/queue.db", backend="sqlite:///{folder}/queue.db")

@app.task
def work(n):
    print("working", n)
    return n

def hang(**named):
    time.sleep(600)

def leave(**named):
    raise SystemExit("left")

def die(**named):
    os._exit(9)

@signals.worker_init.connect
def thread(**named):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

for signal in (signals.worker_ready, signals.worker_process_shutdown):
    signal.connect(hang)
for signal in (signals.worker_process_init, signals.task_prerun, signals.task_postrun,
               signals.task_success, signals.after_setup_logger):
    signal.connect(leave)
signals.worker_shutting_down.connect(die)
"""


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_receivers_that_hang_or_die_harm_nobody(tmp_path: Path, pool: str) -> None:
    text = BAD.format(folder=tmp_path)
    if pool == "solo":  # there nothing can be killed without the node
        text = text.replace("connect(hang)", "connect(leave)").replace("connect(die)", "connect(leave)")
    (tmp_path / "bad.py").write_text(text, encoding="utf-8")
    node = Node("bad", "-P", pool, "-c", "1", "--log-format", "json", "-q", cwd=tmp_path, log=tmp_path / "log")
    node.start(ready=False)
    try:
        call = "import bad; print([bad.work.delay(n).get(timeout=20) for n in range(20)] == list(range(20)))"
        done = subprocess.run(
            [sys.executable, "-c", call], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.stdout == "True\n", done.stderr
    finally:
        node.stop(within=30)
        print(node.output())
    assert node.wait() == 0
    node.assert_gone()
    lines = [json.loads(line) for line in node.output().splitlines() if line.startswith("{")]
    assert [
        line for line in node.output().splitlines() if line and line[0] != "{" and "WARNING: loading" not in line
    ] == []
    printed = [line for line in lines if line["message"] == "working 7"]
    assert [(line["task"], line["level"]) for line in printed] == [("bad.work", "WARNING")]
    assert any(line["exception"] and "SystemExit: left" in line["exception"] for line in lines)
    assert any(line["process"] == "ForkPoolWorker-1" for line in lines) or pool == "solo"
