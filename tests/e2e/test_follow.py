"""`celeriac result --follow` beside a real worker: lines in a pipe, a bar on a terminal, exit codes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from celeriac.client.app import Celery
from tests.processes import Node, until

TASKS = """
import os, time
from celeriac import Celery

app = Celery("tasks")

@app.task(bind=True)
def steps(self, gate, fails=False):
    self.progress(1, 4, "first [step]")
    while not os.path.exists(gate):
        time.sleep(0.01)
    for done in range(1000):
        self.progress(2)
    if fails:
        raise ValueError("broken")
    return "all done"
"""


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "celeriac", "-A", "tasks", "result", *args]


def test_following_a_task(tmp_path: Path, new_node: Callable[..., Node]) -> None:
    (tmp_path / "tasks.py").write_text(TASKS, encoding="utf-8")
    new_node("tasks", "-c", "2").start()
    with Celery("tasks", set_as_current=False) as app:
        piped = app.send_task("tasks.steps", (str(tmp_path / "one"),))
        shown = app.send_task("tasks.steps", (str(tmp_path / "two"), True))
        until(lambda: piped.progress and shown.progress, within=30)
        late = subprocess.run(
            command("--follow", "--timeout", "0.5", piped.id),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (late.returncode, late.stdout) == (1, "")
        told, error = late.stderr.splitlines()
        assert told == "PROGRESS  1/4 (25%)  first [step]"
        assert error == "celeriac: error: no result within 0.5 s; the state is PROGRESS"

        with subprocess.Popen(
            command("--follow", piped.id), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as lines:
            assert lines.stderr is not None
            assert lines.stderr.readline() == "PROGRESS  1/4 (25%)  first [step]\n"
            (tmp_path / "one").touch()
            out, err = lines.communicate(timeout=60)
        assert (lines.returncode, out) == (0, "all done\n")
        assert err.splitlines()[-1] == "SUCCESS"

        ours, theirs = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
        with subprocess.Popen(
            command("--follow", shown.id), cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=theirs
        ) as bar:
            os.close(theirs)
            screen = b""
            while b"first [step]" not in screen:
                screen += os.read(ours, 4096)
            assert b"25%" in screen
            assert b"1/4" in screen
            (tmp_path / "two").touch()
            try:
                while piece := os.read(ours, 4096):
                    screen += piece
            except OSError:  # how Linux says that the terminal has no other side any more
                pass
            assert bar.wait(60) == 1
        os.close(ours)
        assert b"FAILURE: ValueError: broken" in screen
