"""The template process: loads the app once, then forks a runner whenever the supervisor asks.

    python -m celeriac.worker.boot LINE_FD BOARD_FD STACKS_FD SUPERVISOR_PID    (WorkerOptions as JSON on stdin)
    python -m celeriac.worker.boot LINE_FD BOARD_FD STACKS_FD SUPERVISOR_PID SLOT CONSUMER  (one runner)
    python -m celeriac.worker.boot LINE_FD BOARD_FD STACKS_FD SUPERVISOR_PID attend  (the attendant)

It stays single-threaded and opens no socket, so that a fork of it is sound. If loading the app started threads or
opened sockets, forking would copy them half: they are named in a warning, and runners start from a clean interpreter.
"""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from . import lifecycle, lines, loaded, orphans
from .attendant import run_attendant
from .options import WorkerOptions
from .plan import GREEN
from .runner.start import run_runner
from .supervisor import stacks
from .supervisor.board import Board

if TYPE_CHECKING:
    from .loaded import Loaded

#: A runner that could not start at all.
EX_SOFTWARE = 70
#: The argument of an attendant.
_ATTEND = "attend"


def main(arguments: list[str]) -> int:
    line_fd, board_fd, stacks_fd, parent, *runner = arguments
    orphans.die_with_parent(int(parent))
    stacks.answer(int(stacks_fd))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
        # The supervisor decides; a Ctrl-C in the terminal reaches this process too.
        signal.signal(number, signal.SIG_IGN)
    options_json = sys.stdin.buffer.read()
    options = msgspec.json.decode(options_json, type=WorkerOptions)
    # Compiled files know their source by second and size: an edit within the second would not be seen.
    sys.dont_write_bytecode = sys.dont_write_bytecode or options.reload
    line = lines.adopt(int(line_fd))
    board = Board(fd=int(board_fd))
    board.stacks = int(stacks_fd)
    try:
        app = loaded.load(options, int(runner[0]) + 1 if len(runner) == 2 else 0)
        board.shape(app.plan.processes, app.plan.desks)
    except BaseException as error:  # whatever a user's module raises, SystemExit included, is shown as it is
        line.say("failed", error=loaded.explain(error))
        return EX_SOFTWARE
    if runner == [_ATTEND]:
        return run_attendant(app, line)
    if runner:
        slot, consumer = runner
        return run_runner(app, line, board, int(slot), consumer)
    return Template(app, line, board, options_json).serve()


class Template:
    """Answers `fork` lines until its supervisor is gone."""

    def __init__(self, app: Loaded, line: lines.Line, board: Board, options_json: bytes) -> None:
        self._app = app
        self._line = line
        self._board = board
        self._options_json = options_json
        self._burden = burden()
        self._clean = _start_clean(app, self._burden)
        self._pids: set[int] = set()
        self._wakeup, there = os.pipe()
        os.set_blocking(there, False)
        os.set_blocking(self._wakeup, False)
        self._wakeup_there = there

    def serve(self) -> int:
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wakeup_there, warn_on_full_buffer=False)
        plan = msgspec.to_builtins(self._app.plan)
        files = _sources() if self._app.options.reload else []
        self._line.say("hello", plan=plan, warning=self._warning(), files=files)
        self._app.preload()  # while the supervisor opens its own broker; a fork then finds it imported
        # Never waiting to say `forked`: the supervisor, which waits to say `fork`, reads nothing meanwhile.
        self._line.impatient = True
        gc.collect()
        gc.freeze()  # what is loaded stays out of collections, so that runners share its pages
        while not self._line.closed:
            for word, more in self._wait():
                exit_code = self._attend() if word == "attend" else self._fork(more["slot"], more["consumer"])
                if exit_code is not None:
                    return exit_code
            self._reap()
        return 0

    def _wait(self) -> list[tuple[str, dict[str, Any]]]:
        there = self._line.fileno()
        readable, writable, _ = select.select([there, self._wakeup], [] if self._line.push() else [there], [])
        if writable:
            self._line.push()
        if self._wakeup in readable:
            os.read(self._wakeup, 4096)
        return self._line.said(most_fds=64) if there in readable else []

    def _fork(self, slot: int, consumer: str) -> int | None:
        """In the template None; in a forked runner its exit code, once it has ended."""
        lifecycle.before_process(self._app.instance)
        fd = self._line.take_fd()
        pid = self._start(fd, str(slot), consumer)
        if pid == 0:
            return run_runner(self._app, lines.adopt(fd), self._board, slot, consumer)
        self._pids.add(pid)
        self._line.say("forked", slot=slot, consumer=consumer, pid=pid)
        return None

    def _attend(self) -> int | None:
        """As `_fork`, for an attendant: nobody asks how it ends."""
        fd = self._line.take_fd()
        if self._start(fd, _ATTEND) == 0:
            return run_attendant(self._app, lines.adopt(fd))
        return None

    def _start(self, fd: int, *arguments: str) -> int:
        """The new process's id; 0 in a forked one."""
        if self._clean:
            pid = self._spawn(fd, *arguments)
        else:
            pid = os.fork()
            if pid == 0:
                self._become_child()
                return 0
        os.close(fd)
        return pid

    def _become_child(self) -> None:
        template = os.getppid()
        orphans.die_with_parent(template)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._line.close()
        os.close(self._wakeup)
        os.close(self._wakeup_there)
        random.seed()

    def _spawn(self, fd: int, *arguments: str) -> int:
        child = subprocess.Popen(
            [
                sys.executable,
                *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]  # as the supervisor does
                *_module(self._app.plan.pool),
                *(str(fd), str(self._board.fd), str(self._board.stacks), str(os.getpid()), *arguments),
            ],
            stdin=subprocess.PIPE,
            pass_fds=(fd, self._board.fd, self._board.stacks),
        )
        assert child.stdin is not None
        child.stdin.write(self._options_json)
        child.stdin.close()
        child.returncode = 0  # `_reap` waits for it, not Popen
        return child.pid

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._pids:
                self._pids.discard(pid)
                self._line.say("exited", pid=pid, status=status)

    def _warning(self) -> str:
        if not self._clean or not self._burden or self._app.plan.pool in GREEN:
            return ""
        return (
            f"loading the app left {', '.join(self._burden)}: runners start from a clean interpreter, not as a fork. "
            "Open such things in the task or on first use, or set worker_pool_start_method to 'fork' or 'spawn'."
        )


def burden() -> list[str]:
    """What a fork of this process would copy half: threads, and sockets beside the supervisor's line."""
    found = [f"thread {thread.name!r}" for thread in threading.enumerate() if thread is not threading.main_thread()]
    try:
        native = len(os.listdir("/proc/self/task")) - 1 - len(found)
        links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd)]
    except OSError:
        return found
    if native > 0:
        found.append(f"{native} native thread(s)")
    sockets = sum(link.startswith("socket:") for link in links) - _inherited_sockets()
    if sockets > 0:
        found.append(f"{sockets} open socket(s)")
    return found


def _sources() -> list[str]:
    """The app's own source files, for `--reload`."""
    from .reload import sources

    return sources(list(sys.modules.values()), os.getcwd())


def _is_link(fd: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{fd}")


def _inherited_sockets() -> int:
    """The line, and standard streams that are sockets themselves."""
    standard = sum(os.path.islink(path) and os.readlink(path).startswith("socket:") for path in _STANDARD)
    return 1 + standard


_STANDARD = [f"/proc/self/fd/{fd}" for fd in (0, 1, 2)]


#: Greenlets: whatever is imported after this, the standard library included, waits for them.
_PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.filterwarnings('ignore', '[^a-z]*Eventlet is deprecated'); "
    "import eventlet; eventlet.monkey_patch()",
}


def _module(pool: str) -> list[str]:
    """How Python is told to run this module, in a process that is patched before anything else is imported."""
    patch = _PATCHES.get(pool)
    if patch is None:
        return ["-m", "celeriac.worker.boot"]
    return [
        "-c",
        f"{patch}; import runpy; runpy.run_module('celeriac.worker.boot', run_name='__main__', alter_sys=True)",
    ]


def _start_clean(app: Loaded, found: list[str]) -> bool:
    if app.plan.pool in GREEN:
        return True
    if app.start_method == "fork":
        return False
    return app.start_method == "spawn" or bool(found)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # No interpreter shutdown: threads that tasks left behind must not keep a runner alive.
    os._exit(code)
