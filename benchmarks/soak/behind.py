"""python -m benchmarks.soak.behind [--long 30]: a long task and 99 of 10 ms queued behind it, two slots, on Redis.

What is measured: from the moment at which all are queued (the worker starts then) and the long one runs, until the 99
have ended: with one worker of two slots, and with two workers of one. Celeriac, and stock Celery with its default
prefetch and with the settings that its docs advise.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.processes import Process, until
from tests.servers import RedisServer

SHORT = 99
APP = """
import os, time
from {package} import Celery
app = Celery("behind", broker=os.environ["BEHIND_URL"], backend=os.environ["BEHIND_URL"])
if {advised}:
    app.conf.update(worker_prefetch_multiplier=1, task_acks_late=True)

def note(word):
    fd = os.open(os.environ["BEHIND_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{{word}} {{time.monotonic():.6f}}\\n".encode())
    os.close(fd)

@app.task
def long(seconds):
    note("long")
    time.sleep(seconds)

@app.task
def short():
    time.sleep(0.010)
    note("short")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=float, default=30.0, help="seconds")
    seconds = parser.parse_args().long
    print(f"one task of {seconds:g} s, {SHORT} of 10 ms behind it; seconds until the {SHORT} have ended, three runs")
    for workers in (1, 2):
        for package, advised in (("celeriac", False), ("celery", False), ("celery", True)):
            took = sorted(_measure(package, advised, seconds, workers) for _ in range(3))
            label = f"{package}{' prefetch 1, acks late' if advised else ''}"
            print(
                f"| {label} | {workers} x {2 // workers} | {' | '.join(f'{each:.2f}' for each in took)} |", flush=True
            )


def _measure(package: str, advised: bool, seconds: float, workers: int) -> float:
    folder = Path(tempfile.mkdtemp(prefix="celeriac-behind-"))
    (folder / "behind.py").write_text(APP.format(package=package, advised=advised))
    server = RedisServer(folder, appendfsync=None)
    server.start()
    notes = folder / "notes"
    notes.touch()
    env = {"BEHIND_URL": server.url(), "BEHIND_NOTES": str(notes), "CELERIAC_HOME": str(folder / "home")}
    command = [sys.executable, "-m", package, "-A", "behind", "worker", "-c", str(2 // workers), "-l", "WARNING"]
    nodes = [
        Process([*command, "-n", f"n{number}@%h"], cwd=folder, log=folder / f"log{number}", env=env)
        for number in range(workers)
    ]
    send = f"import behind; behind.long.delay({seconds}); [behind.short.delay() for _ in range({SHORT})]"
    sender = Process([sys.executable, "-c", send], cwd=folder, log=folder / "sender", env=env)
    try:
        sender.start()
        assert sender.wait() == 0, sender.output()
        for node in nodes:
            node.start()
        until(lambda: len(_at(notes, "short")) == SHORT, within=seconds + 60, what="the short ones have ended")
        return max(_at(notes, "short")) - _at(notes, "long")[0]
    finally:
        for node in nodes:
            node.kill_tree()
        server.stop()


def _at(notes: Path, word: str) -> list[float]:
    lines = [line.split() for line in notes.read_text().splitlines()]
    return [float(at) for what, at in lines if what == word]


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
