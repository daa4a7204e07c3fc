"""Real Celery beside us: the same small application written for either library, a worker and a client of each.

The application is one text with one import exchanged, as its authors would move it. `Market` holds both copies in
folders of their own on one Redis; the clients live in this process, the workers are real commands.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.processes import Node, Process, until
from tests.servers import RedisServer

OURS, STOCK = "ours", "stock"
#: Consumed by the worker of each; and by both; and by nobody.
SHARED, NOBODY = "shared", "nobody"

SHOP = '''
import os
import time
from {library} import Celery
from {library}.exceptions import Ignore
from shop_errors import Discontinued, OutOfStock

app = Celery("shop", broker="{broker}", backend="{backend}")

FACTS = (
    "task", "retries", "root_id", "parent_id", "correlation_id", "reply_to", "eta", "expires", "timelimit", "group",
    "group_index", "is_eager", "called_directly", "utc", "args", "kwargs", "argsrepr", "kwargsrepr", "headers",
    "delivery_info", "ignore_result", "stamps", "stamped_headers", "shadow", "chord", "chain", "callbacks", "errbacks",
    "replaced_task_nesting",
)


def note(*words):
    """One line in the ledger; a short write in append mode is never torn."""
    line = " ".join(map(str, words)) + "\\n"
    ledger = os.open("{ledger}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)


@app.task
def add(x, y):
    return x + y

@app.task
def echo(*args, **kwargs):
    return [list(args), kwargs]

@app.task(bind=True)
def facts(self, *args, **kwargs):
    return {{name: getattr(self.request, name, "(none)") for name in FACTS}}

@app.task
def now():
    return time.time()

@app.task(bind=True, max_retries=3, default_retry_delay=0.1)
def restock(self, article, tries):
    if self.request.retries < tries:
        raise self.retry(exc=OutOfStock(article, self.request.retries), countdown=0.1)
    return [article, self.request.retries, self.request.id]

@app.task(autoretry_for=(OutOfStock,), max_retries=1, default_retry_delay=0)
def stubborn(article):
    raise OutOfStock(article, 0)

@app.task
def sell(article, left):
    raise OutOfStock(article, left)

@app.task
def fail(kind):
    class Hidden(Exception):
        pass

    def cause():
        try:
            {{}}["missing"]
        except KeyError as error:
            raise RuntimeError("beneath") from error

    raise {{
        "value": ValueError("bad value", 7),
        "unicode": LookupError("没有"),
        "empty": Exception(),
        "kwargs": Discontinued(article="pear", since=1999),
        "hidden": Hidden("nobody can import me"),
        "os": FileNotFoundError(2, "No such file or directory", "/nowhere"),
        "decode": UnicodeDecodeError("utf-8", b"\\xff", 0, 1, "invalid start byte"),
    }}[kind] if kind != "cause" else cause()

@app.task
def unwritable():
    return object()

@app.task
def ignored():
    raise Ignore()

@app.task
def mark(*words):
    note("{library}", *words)
    return list(words)

@app.task
def member(tag, number, bad):
    time.sleep(0.002)
    note("{library}", "member", number, tag)
    if bad:
        raise ValueError(number)
    return number

@app.task
def total(values, tag):
    note("{library}", "total", tag)
    return sum(values)

@app.task
def give(value):
    return value

@app.task
def last(go_on):
    while not os.path.exists("{folder}/" + go_on):
        time.sleep(0.01)
    return "last"

@app.task(ignore_result=True)
def count(number):
    time.sleep(0.0005)
    note("{library}", number)

@app.task
def complain(task_id):
    note("{library}", "errback", task_id)

@app.task
def complain_newly(request, exc, traceback):
    note("{library}", "new-errback", request.id, type(exc).__name__, "Traceback" in traceback)

@app.task(bind=True)
def progress(self, go_on):
    self.update_state(state="PROGRESS", meta={{"percent": 50}})
    while not os.path.exists(go_on):
        time.sleep(0.01)
    return "done"
'''

ERRORS = '''
class OutOfStock(Exception):
    """With two arguments, as they come back."""

    def __init__(self, article, left):
        super().__init__(article, left)
        self.article, self.left = article, left


class Discontinued(Exception):
    """Takes keywords only: it cannot be built again from its args."""

    def __init__(self, *, article, since):
        super().__init__(f"{article} since {since}")
'''


class Market:
    """`worker[...]` and `client[...]` by OURS and STOCK; the workers consume the queue of that name and SHARED."""

    def __init__(self, folder: Path, server: RedisServer) -> None:
        self.folder = folder
        self.server = server
        self.ledger = folder / "ledger"
        self.client: dict[str, ModuleType] = {}
        self.worker: dict[str, Process] = {}
        (folder / "shop_errors.py").write_text(ERRORS, encoding="utf-8")
        for kind, library in ((OURS, "celeriac"), (STOCK, "celery")):
            (folder / kind).mkdir()
            places = {"broker": server.url(0), "backend": server.url(1), "ledger": self.ledger, "folder": folder}
            text = SHOP.format(library=library, **places)
            (folder / kind / "shop.py").write_text(text, encoding="utf-8")

    # -- life -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Load both clients into this process and start both workers."""
        sys.path.insert(0, str(self.folder))
        for kind in (OURS, STOCK):
            self.client[kind] = self._load(kind)
            self.worker[kind] = self.new_worker(kind, kind, SHARED, pool="prefork")
            self.worker[kind].start()
        for kind in (OURS, STOCK):
            self.worker[kind].expect(r"ready\.$")

    def close(self) -> None:
        sys.path.remove(str(self.folder))
        for worker in self.worker.values():
            if worker.alive:
                worker.stop()
            worker.assert_gone()
        if STOCK in self.client:
            stock = self.client[STOCK].app
            stock.backend.result_consumer.stop()
            # Results that a failed test still holds would unsubscribe when they are collected.
            stock.backend.result_consumer._pubsub = None
            stock.backend.client.close()
            stock.close()
        if OURS in self.client:
            self.client[OURS].app.close()

    def new_worker(self, kind: str, *queues: str, pool: str = "solo", slots: int = 1) -> Process:
        """A worker of that library, not yet started."""
        log = self.folder / f"{kind}-{'-'.join(queues)}.log"
        options = ["-c", str(slots), "-Q", ",".join(queues), "-n", f"{kind}-{queues[0]}@%h"]
        env = {"PYTHONPATH": os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])}
        if kind == OURS:
            return Node("shop", *options, cwd=self.folder / kind, log=log, env=env)
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-l", "INFO", "-P", pool, *quiet, *options]
        return Process(command, cwd=self.folder / kind, log=log, env=env)

    def cli(self, *args: str) -> str:
        """What `celeriac -A shop …` prints."""
        command = [sys.executable, "-m", "celeriac", "-A", "shop", *args]
        env = {**os.environ, "PYTHONPATH": str(self.folder)}
        run = subprocess.run(
            command, cwd=self.folder / OURS, env=env, capture_output=True, text=True, timeout=30, check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout

    # -- looking ----------------------------------------------------------------------------------------------------

    def notes(self) -> list[list[str]]:
        """The lines of the ledger, in words."""
        return [line.split(" ") for line in self.ledger.read_text().splitlines()] if self.ledger.exists() else []

    def noted(self, *words: object) -> list[str]:
        """The first note that holds all of these, as soon as it is there."""
        wanted = {str(word) for word in words}
        return until(
            lambda: next((it for it in self.notes() if wanted <= set(it)), []), within=15, what=f"note {words}"
        )

    def waiting(self, queue: str) -> list[bytes]:
        """The queue's LIST, the first to be taken first."""
        return list(reversed(self.server.ask("LRANGE", queue, 0, -1)))

    def stored(self, task_id: str) -> dict[str, Any]:
        """The result document as it lies in Redis."""
        document = self.server.ask("GET", f"celery-task-meta-{task_id}", db=1)
        assert document is not None, f"nothing stored for {task_id}"
        read: dict[str, Any] = json.loads(document)
        return read

    def reads(self, task_id: str) -> list[Any]:
        """The result as either client sees it."""
        return [self.client[kind].app.AsyncResult(task_id) for kind in (OURS, STOCK)]

    def _load(self, kind: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location("shop", self.folder / kind / "shop.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def other(kind: str) -> str:
    return STOCK if kind == OURS else OURS


def node_of(kind: str) -> str:
    """The name that the worker of `Market` shows."""
    return f"{kind}-{kind}@{socket.gethostname()}"
