"""What needs mounts of its own: a disk that fills up under the queue file, an app in a folder that is read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.world import HERE
from tests.processes import Process

ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def unshare() -> list[str]:
    """A command that runs another in a mount namespace of its own: nothing is left of it afterwards."""
    command = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    if shutil.which("unshare") is None or sys.platform != "linux":
        pytest.skip("mounts of one's own are Linux's")
    trial = subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if trial.returncode:
        pytest.skip(f"mounts are not allowed here: {trial.stderr.decode().strip()}")
    return command


def test_a_disk_that_fills_up(unshare: list[str], tmp_path: Path, new_process: Callable[..., Process]) -> None:
    played = new_process([*unshare, sys.executable, "-m", "tests.faults.full_disk", str(tmp_path)], cwd=ROOT)
    played.start()
    assert played.wait(within=60) == 0, played.output()
    assert "duplicates: 0" in played.output()


def test_an_app_in_a_folder_that_cannot_be_written(
    unshare: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_process: Callable[..., Process]
) -> None:
    """An image with a read-only root: the queue is elsewhere, and the worker writes nothing beside its app."""
    home = tmp_path / "app"
    home.mkdir()
    (home / "tasks.py").write_text(
        "from celeriac import Celery\n"
        f"app = Celery('tasks', broker='sqlite:///{tmp_path}/queue.db', backend='sqlite:///{tmp_path}/queue.db')\n"
        "@app.task\n"
        "def where():\n"
        "    try:\n"
        "        open('note', 'w')\n"
        "    except OSError as error:\n"
        "        return error.strerror\n"
    )
    monkeypatch.setenv("HOME", str(home))
    read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'
    worker = [sys.executable, "-m", "celeriac", "-A", "tasks", "worker", "-c", "2", "-l", "INFO"]
    node = new_process([*unshare, "sh", "-c", read_only, str(home), *worker])
    node.start()
    node.expect(r"\bready\.\s*$")
    ask = "import sys; sys.path.insert(0, '.'); import tasks; print(tasks.where.delay().get(timeout=10))"
    asked = subprocess.run([sys.executable, "-c", ask], cwd=home, capture_output=True, text=True, check=True)
    assert asked.stdout == "Read-only file system\n"
    assert node.stop() == 0
    node.assert_gone()
    assert {path.name for path in home.iterdir()} <= {"tasks.py", "__pycache__"}
