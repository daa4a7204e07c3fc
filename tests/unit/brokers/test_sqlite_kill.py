"""`kill -9` at any instant: every message that was accepted is in the queue or has its result, and never both."""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from celeriac.backends.registry import open_backend
from celeriac.brokers.base import Counts, Settlement, Verdict
from celeriac.brokers.registry import open_broker
from celeriac.wire import envelope

QUEUE = "celery"
VICTIM = Path(__file__).with_name("sqlite_victim.py")

_PLACES = """
SELECT message, count(*) FROM (
    SELECT message FROM waiting UNION ALL SELECT message FROM delayed
    UNION ALL SELECT message FROM held UNION ALL SELECT message FROM dead
) GROUP BY message
"""


def _run_and_kill(url: str, name: str, seconds: float) -> set[str]:
    """What the victim said was accepted before it was killed, `seconds` after its first word."""
    with subprocess.Popen([sys.executable, str(VICTIM), url, name], stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        said = victim.stdout.readline()
        select.select([], [], [], seconds)
        os.kill(victim.pid, signal.SIGKILL)
        said += victim.stdout.read()
        assert victim.wait(10) == -signal.SIGKILL
    complete = said[: said.rfind(b"\n")].decode().splitlines()
    return {text for line in complete for text in line.split()[1:]}


def _check_places(path: Path) -> None:
    """Every message has exactly one place, and the file is sound."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        places = dict(connection.execute(_PLACES).fetchall())
        messages = {row[0] for row in connection.execute("SELECT id FROM messages")}
    finally:
        connection.close()
    assert set(places) == messages
    assert set(places.values()) <= {1}


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_instant(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tmp_path / "queue.db"
    url = f"sqlite:///{path}"
    broker, backend = open_broker(url), open_backend(url)
    broker.open()
    backend.open()
    broker.join(backend.identity, backend.location)
    broker.enlist("heir/1", [QUEUE])
    heir = broker.consumer("heir/1", [QUEUE])
    accepted: set[str] = set()
    for number in range(5):
        accepted |= _run_and_kill(url, f"victim/{number}", chance.uniform(0.0, 0.08))
        _check_places(path)
        moved = broker.recover(f"victim/{number}", [QUEUE], "heir/1")
        heir.send([Settlement(delivery, Verdict.REQUEUE) for delivery in moved], 0)
        assert heir.receive().refused == ()
    broker.promote([QUEUE], 1_000_000)
    assert broker.count([QUEUE])[QUEUE].in_flight == 0
    waiting = {envelope.decode(payload).body.decode() for payload in broker.peek(QUEUE, 1_000_000)}
    done = set(backend.get_many(sorted(accepted | waiting)))
    assert accepted <= waiting | done
    assert not waiting & done
    assert len(accepted) > 20
    broker.purge([QUEUE])
    assert broker.count([QUEUE])[QUEUE] == Counts()
    broker.close()
    backend.close()
