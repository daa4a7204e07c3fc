"""The app of the fault tests. Every body notes its start and its end in a journal, one appending write each, so that
what ran where can be told afterwards whatever was killed meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import Any

from celeriac import Celery

app = Celery("faulty", broker=os.environ["FAULT_BROKER"], backend=os.environ["FAULT_BACKEND"])
app.conf.worker_lease = float(os.environ["FAULT_LEASE"])
app.conf.task_max_strikes = int(os.environ["FAULT_STRIKES"])

# A line for each task would hide what the tests are about.
logging.getLogger("celery").setLevel(logging.WARNING)

_journal = os.open(os.environ["FAULT_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def note(word: str, task_id: str) -> None:
    os.write(_journal, f"{word} {task_id} {os.getpid()} {time.monotonic():.6f}\n".encode())


@app.task(bind=True)
def work(self: Any, seconds: float) -> int:
    """Sleeps, and says which process did."""
    note("start", self.request.id)
    if seconds:
        time.sleep(seconds)
    note("end", self.request.id)
    return os.getpid()


@app.task(bind=True)
async def awork(self: Any, seconds: float) -> int:
    """The same as a coroutine."""
    note("start", self.request.id)
    if seconds:
        await asyncio.sleep(seconds)
    note("end", self.request.id)
    return os.getpid()


@app.task(bind=True)
def poison(self: Any, whom: str) -> None:
    """Kills `group` (its own process group), `template` (its runner's parent) or `node` (supervisor and all)."""
    note("start", self.request.id)
    if whom == "node":
        with open(f"/proc/{os.getppid()}/stat", "rb") as stat:
            supervisor = int(stat.read().rpartition(b")")[2].split()[1])
        os.kill(supervisor, signal.SIGKILL)
    if whom in ("node", "template"):
        os.kill(os.getppid(), signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)
