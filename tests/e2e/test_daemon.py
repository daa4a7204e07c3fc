"""Workers in the background: what the shell is told, pidfiles, log files by process, another user; many of them."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stage import Stage
from tests.processes import MARK, command_line, processes_with, until

TASKS = """
    import os, time
    from celeriac import Celery

    app = Celery("tasks", broker="sqlite:///@folder@/queue.db", backend="sqlite:///@folder@/queue.db")

    @app.task
    def who():
        open("@folder@/made", "w").close()
        return os.getuid(), os.getgid(), os.getgroups(), os.getcwd()

    @app.task
    def work(n):
        time.sleep(0.02)
        with open("@folder@/notes", "a") as notes:
            notes.write(f"{n}\\n")
"""
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    mark = f"daemon-{os.getpid()}-{tmp_path.name}"
    stage = Stage(tmp_path, env={MARK: mark})
    stage.write("tasks.py", TASKS, folder=tmp_path)
    yield stage
    for log in sorted(tmp_path.glob("*.log")):
        print(f"---- {log.name}\n{log.read_text()}")
    stage.close()

    def gone() -> bool:
        left = processes_with(f"{MARK}={mark}".encode())
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return not left

    until(gone, what="no daemon is left")


def celeriac(stage: Stage, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celeriac", *words],
        cwd=cwd or stage.folder,
        env={**os.environ, **stage.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def end(pidfile: Path) -> None:
    pid = int(pidfile.read_text())
    os.kill(pid, signal.SIGTERM)
    until(lambda: not pidfile.exists(), what="the pidfile is gone")


def test_the_shell_returns_when_it_is_ready_and_files_are_named_by_process(stage: Stage) -> None:
    names = ["-n", "w1@host.dom", "--pidfile", "%n-%h-%d.pid", "--logfile", "%n%I.log"]
    other = Path(sys.executable).with_name("python3")
    names += ["--executable", str(other)]
    started = celeriac(stage, "-A", "tasks", "worker", "-D", "-c", "2", "-l", "INFO", "--umask", "077", *names)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    pidfile = stage.folder / "w1-host.dom-dom.pid"
    pid = int(pidfile.read_text())
    assert os.getsid(pid) not in (os.getsid(0), pid)
    assert command_line(pid).startswith(str(other))
    assert "w1@host.dom ready." in (stage.folder / "w1.log").read_text()
    assert stage.client().who.delay().get(timeout=10)[3] == str(stage.folder)
    assert (stage.folder / "made").stat().st_mode & 0o077 == 0
    files = {"w1.log", "w1-1.log", "w1-2.log"}  # the second runner may be a moment behind
    until(lambda: {path.name for path in stage.folder.glob("w1*.log")} == files, what=f"{files}")

    log = stage.folder / "w1.log"
    log.rename(stage.folder / "w1.log.1")
    os.kill(pid, signal.SIGHUP)
    until(lambda: log.exists() and "every runner has its new code" in log.read_text(), what="a new log file")
    assert os.path.samefile(f"/proc/{pid}/fd/2", log), "what a crash writes goes there too"

    second = celeriac(stage, "-A", "tasks", "worker", "-D", *names)
    assert second.returncode == 73
    assert second.stderr == f"ERROR: Pidfile ({pidfile}) already exists.\nSeems we're already running? (pid: {pid})\n"
    end(pidfile)


def test_a_start_that_fails_is_told_to_the_shell(stage: Stage) -> None:
    refused = {
        ("-A", "nothing"): (1, "No module named 'nothing'"),
        ("-A", "tasks", "-b", "redis://127.0.0.1:1"): (69, "cannot reach Redis"),
    }
    for words, (code, text) in refused.items():
        failed = celeriac(stage, *words, "worker", "-D", "-f", "x.log", "--pidfile", "x.pid")
        assert (failed.returncode, text in failed.stderr) == (code, True), failed.stderr
    for options, code, text in [
        (["--logfile", "no/x.log"], 73, "cannot write the log file no/x.log: No such file or directory"),
        (["--pidfile", "no/x.pid"], 73, "cannot write the pidfile"),
        (["--uid", "no such user"], 77, "User does not exist: no such user"),
        (["--executable", "/no/python"], 2, "--executable /no/python: No such file or directory"),
        (["--workdir", "/no/place"], 2, "--workdir /no/place: No such file or directory"),
    ]:
        failed = celeriac(stage, "-A", "tasks", "worker", "-D", *options)
        assert (failed.returncode, text in failed.stderr) == (code, True), failed.stderr
    assert not (stage.folder / "x.pid").exists()


def test_stale_and_broken_pidfiles_are_replaced(stage: Stage) -> None:
    pidfile = stage.folder / "w.pid"
    ended = subprocess.Popen(["true"])
    ended.wait()
    for content, text in [(f"{ended.pid}\n", "Stale pidfile exists"), ("x\n", "Broken pidfile found")]:
        pidfile.write_text(content)
        started = celeriac(stage, "-A", "tasks", "worker", "-D", "-c", "1", "--pidfile", "w.pid")
        assert (started.returncode, started.stderr) == (0, f"{text} - Removing it.\n")
        end(pidfile)
    pidfile.write_text(f"{os.getppid()}\n")  # lives, but began long after this was written
    os.utime(pidfile, (1000, 1000))
    assert celeriac(stage, "-A", "tasks", "worker", "-D", "-c", "1", "--pidfile", "w.pid").returncode == 0
    end(pidfile)


ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


@ROOT
def test_another_user_and_group_for_good_and_none_of_our_groups(stage: Stage) -> None:
    for folder in (stage.folder, *stage.folder.parents[:3]):
        folder.chmod(0o755)
    os.chown(stage.folder, NOBODY.pw_uid, NOBODY.pw_gid)
    (stage.folder / "ours.log").touch(mode=0o600)
    # The interpreter may lie where only root can reach it, as here under /root: everything is imported before.
    script = """
        import os, sys
        from celeriac.worker import daemon
        from celeriac.worker.options import WorkerOptions
        sys.executable = "/bin/sh"
        station = daemon.settle_in(WorkerOptions(uid="nobody", pidfile="w.pid", logfile="w.log"))
        print(os.getresuid(), os.getresgid(), 0 in os.getgroups(), os.stat("w.pid").st_uid)
        try:
            os.setuid(0)
        except PermissionError:
            print("for good")
        try:
            daemon.settle_in(WorkerOptions(logfile="ours.log"))
        except daemon.Refused as error:
            print(error.code, error)
    """
    uid, gid = NOBODY.pw_uid, NOBODY.pw_gid
    lines = stage.python(script).stdout.splitlines()
    assert lines[0] == f"{(uid,) * 3} {(gid,) * 3} False {uid}"
    assert lines[1] == "for good"
    assert lines[2].startswith("73 cannot write the log file ours.log: Permission denied")
    assert f"belongs to user 0, this is user {uid})" in lines[2]


@ROOT
def test_another_group_in_every_process(stage: Stage) -> None:
    started = celeriac(stage, "-A", "tasks", "worker", "-D", "-c", "1", "--gid", "nogroup", "--pidfile", "w.pid")
    assert started.returncode == 0, started.stderr
    uid, gid, groups, _ = stage.client().who.delay().get(timeout=10)
    assert (uid, gid, groups) == (0, NOBODY.pw_gid, [NOBODY.pw_gid])
    end(stage.folder / "w.pid")


def test_multi_start_restart_stop_lose_nothing(stage: Stage) -> None:
    nodes = ["2", "-A", "tasks", "-c", "1", "-l", "INFO", "--pidfile=%n.pid", "--logfile=%n.log"]
    started = celeriac(stage, "multi", "start", *nodes)
    assert started.returncode == 0, started.stdout + started.stderr
    assert started.stdout.count(": OK") == 2
    pids = [int((stage.folder / f"celery{n}.pid").read_text()) for n in (1, 2)]
    tasks = stage.client()
    results = tasks.work.send_many([((n,), {}) for n in range(200)])
    until(lambda: len(stage.notes()) > 20, what="they run")
    restarted = celeriac(stage, "multi", "restart", *nodes)
    assert restarted.returncode == 0, restarted.stdout + restarted.stderr
    assert all(f"Restarting node celery{n}@" in restarted.stdout for n in (1, 2))
    fresh = [int((stage.folder / f"celery{n}.pid").read_text()) for n in (1, 2)]
    assert not set(fresh) & set(pids)
    for result in results:
        result.get(timeout=20)
    assert sorted(stage.notes(), key=int) == [str(n) for n in range(200)]
    again = celeriac(stage, "multi", "start", *nodes)
    assert again.returncode == 1
    assert again.stdout.count("* Child terminated with exit code 73") == 2
    stopped = celeriac(stage, "multi", "stopwait", *nodes)
    assert stopped.returncode == 0
    assert "Waiting for 2 nodes -> " in stopped.stdout
    assert not any((stage.folder / f"celery{n}.pid").exists() for n in (1, 2))
    assert celeriac(stage, "multi", "stop", *nodes, "-9").stdout.count(": DOWN") == 2
