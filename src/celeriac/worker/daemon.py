"""Daemons: detaching from the terminal, the pidfile, another user, the log file's name. Celery's guide: Daemonization.

It forks, so it has to be done before the first thread and the first process of a node. It knows no app and no broker.
Every start passes here: it imports little (no pathlib, which takes 5 ms).
"""

from __future__ import annotations

import atexit
import grp
import io
import json
import os
import pwd
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TextIO

from ..errors import CeleriacError
from ..foundation import identifiers
from .options import WorkerOptions

#: `--workdir` or `--executable` is not there: wrong usage.
EX_USAGE = 2
#: The pidfile is another's, or a file cannot be written (Celery's code for it).
EX_CANTCREAT = 73
#: The user or group cannot be had.
EX_NOPERM = 77
#: The daemon did not say within `PATIENCE` seconds whether it is ready.
EX_TEMPFAIL = 75
PATIENCE = 300.0
#: Seconds that a pidfile may be older than its process: clocks of files and processes are not the same.
_CLOCK_SLACK = 3.0


class Refused(CeleriacError):
    """The worker is not started; `code` is its exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Station:
    """Where the worker stands once it is settled in: tell it when the worker is `ready` and, at last, `leave`."""

    def __init__(self, pidfile: Pidfile | None, report: Report | None) -> None:
        self._pidfile = pidfile
        self._report = report

    def ready(self) -> None:
        if self._report is not None:
            self._report.send(0)

    def leave(self, code: int) -> None:
        """The worker has ended, with this exit code."""
        if self._pidfile is not None:
            self._pidfile.release()
        if self._report is not None:
            self._report.code = code


def settle_in(options: WorkerOptions) -> Station:
    """Everything that the options ask for between the command line and the node. Where it detaches, the calling process
    does not return: it ends when the daemon is ready, or has failed. Raises: Refused."""
    if options.executable and not _same_program(options.executable, sys.executable):
        _start_over(options.executable)
    if options.workdir:
        _enter(options.workdir)
    if options.umask is not None:
        os.umask(read_umask(options.umask))
    node = identifiers.node_name(options.hostname)
    identity = _identity(options.uid, options.gid)  # known before the fork: a wrong name is told at once
    report = detach() if options.detach else None
    try:
        if identity is not None:
            become(*identity)
        logfile = log_path(options, node)
        if logfile is not None:
            _check_writable(logfile)
        pidfile = Pidfile(identifiers.expand(options.pidfile, node)) if options.pidfile else None
        if pidfile is not None:
            pidfile.acquire()
    except Refused as error:
        if report is not None:
            report.code = error.code
        raise
    if report is not None:
        redirect(logfile)
    return Station(pidfile, report)


def log_path(options: WorkerOptions, node: str, index: int = 0) -> str | None:
    """`--logfile` with `%n %h %d %p %i %I` filled in; `index` is 0 in the supervisor, 1 and more in runners."""
    if options.logfile is None:
        return None
    return os.path.expanduser(identifiers.expand(options.logfile, node, index))


def reopen_streams(options: WorkerOptions) -> None:
    """After the log files were moved away: what a daemon writes to stderr goes to the new one."""
    if options.detach:
        redirect(log_path(options, identifiers.node_name(options.hostname)))


# -- the terminal ------------------------------------------------------------------------------------------------------


class Report:
    """The daemon's end of a pipe to the process that the shell waits for: one message, at ready or at the end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.code = 1
        self._text = io.StringIO()
        # What is written to stderr from here on is told to the shell as well, until the worker is ready.
        sys.stderr = _Tee(sys.stderr, self._text)
        atexit.register(lambda: self.send(self.code))

    def send(self, code: int) -> None:
        if self._fd < 0:
            return
        with suppress(OSError):  # nobody waits any more
            os.write(self._fd, json.dumps({"code": code, "text": self._text.getvalue()}).encode())
        os.close(self._fd)
        self._fd = -1
        if isinstance(sys.stderr, _Tee):
            sys.stderr = sys.stderr.stream


class _Tee(io.TextIOBase):
    """Writes to `stream` and, in this process, to a second one."""

    def __init__(self, stream: TextIO, copy: io.StringIO) -> None:
        super().__init__()
        self.stream = stream
        self._copy = copy

    def write(self, text: str) -> int:
        self._copy.write(text)
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()


def detach() -> Report:
    """A process of its own, without the terminal. Returns in the daemon only; its parent waits and ends."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os.waitpid(child, 0)
        _wait_for(reading)
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)  # so that the daemon leads no session and can never get a terminal
    redirect(None)
    return Report(writing)


def redirect(logfile: str | None) -> None:
    """Standard streams of a daemon: nothing in, nothing out, errors to the log file if there is one."""
    null = os.open(os.devnull, os.O_RDWR)
    errors = null if logfile is None else os.open(logfile, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for fd, target in ((0, null), (1, null), (2, errors)):
        os.dup2(target, fd)
    for fd in {null, errors}:
        os.close(fd)


def _wait_for(pipe: int) -> NoReturn:
    """The process that the shell waits for: ends as the daemon's start did."""
    code, text = 1, "celeriac: the worker ended before it was ready\n"
    try:
        said = _read_all(pipe)
        if said is None:
            code, text = EX_TEMPFAIL, f"celeriac: the worker is not ready after {PATIENCE:.0f}s; it goes on trying\n"
        elif said:
            report = json.loads(said)
            code, text = report["code"], report["text"]
            if code and not text:
                text = f"celeriac: the worker ended with exit code {code} before it was ready: see its log\n"
    except KeyboardInterrupt:
        code, text = 130, "celeriac: the worker goes on in the background\n"
    sys.stderr.write(text)
    sys.stderr.flush()
    os._exit(code)


def _read_all(pipe: int) -> bytes | None:
    """What the daemon said; None if it neither spoke nor ended in time."""
    said, deadline = b"", time.monotonic() + PATIENCE
    while True:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(pipe, 65536)
        if not part:
            return said
        said += part


# -- the pidfile -------------------------------------------------------------------------------------------------------


class Pidfile:
    """The file that says who runs. One whose process is gone is replaced, with Celery's words."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))

    def acquire(self) -> None:
        """Write our process id. Raises: Refused (73) where another's is alive, or the file cannot be written."""
        mine = f"{self.path}.{os.getpid()}"
        try:
            with open(mine, "w") as file:
                file.write(f"{os.getpid()}\n")
            os.chmod(mine, 0o644)
            for _ in range(2):
                try:
                    os.link(mine, self.path)  # with its content, or not at all
                    return
                except FileExistsError:
                    self._remove_if_stale()
        except OSError as error:
            raise Refused(f"cannot write the pidfile {self.path}: {error.strerror}", EX_CANTCREAT) from None
        finally:
            with suppress(OSError):
                os.unlink(mine)
        raise Refused(f"another worker was faster to take the pidfile {self.path}", EX_CANTCREAT)

    def release(self) -> None:
        """Remove it, if it is ours."""
        with suppress(OSError, ValueError):
            if read_pid(self.path) == os.getpid():
                os.unlink(self.path)

    def _remove_if_stale(self) -> None:
        try:
            pid = read_pid(self.path)
            if pid is not None and pid != os.getpid() and runs_since(pid, os.stat(self.path).st_mtime):
                raise Refused(
                    f"ERROR: Pidfile ({self.path}) already exists.\nSeems we're already running? (pid: {pid})",
                    EX_CANTCREAT,
                )
            sys.stderr.write("Stale pidfile exists - Removing it.\n")
        except ValueError:
            sys.stderr.write("Broken pidfile found - Removing it.\n")
        with suppress(FileNotFoundError):
            os.unlink(self.path)


def read_pid(path: str) -> int | None:
    """The process id in a pidfile; None without a file. Raises: ValueError for anything else, OSError."""
    try:
        with open(path) as file:
            return int(file.readline())
    except FileNotFoundError:
        return None


def runs_since(pid: int, written: float) -> bool:
    """Whether the process lives that wrote its id at that time: not a zombie, and not a later process of that id, as
    is the rule in containers, where everything is process 1 or 7."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's, and alive
        pass
    try:
        with open(f"/proc/{pid}/stat") as status, open("/proc/uptime") as uptime:
            fields = status.read().rpartition(")")[2].split()
            age = float(uptime.read().split()[0]) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):  # no such file system: believe it
        return True
    return fields[0] != "Z" and time.time() - age < written + _CLOCK_SLACK


# -- the user ----------------------------------------------------------------------------------------------------------


def become(uid: int | None, gid: int | None) -> None:
    """Be that user and that group for good, with no other groups than the user's own. Raises: Refused (77)."""
    try:
        if gid is not None:
            os.setgid(gid)
        if uid is not None:
            _leave_groups(uid, gid)
            os.setuid(uid)
        elif gid is not None and os.geteuid() == 0:
            os.setgroups([gid])
    except PermissionError:
        raise Refused(f"cannot become user {uid}, group {gid}: only root may", EX_NOPERM) from None
    if not os.access(sys.executable, os.X_OK):
        raise Refused(f"user {os.geteuid()} may not run {os.path.realpath(sys.executable)}", EX_NOPERM)
    if uid and _can_be_root():
        raise Refused("superuser privileges could be had back after --uid: not started", EX_NOPERM)


def _leave_groups(uid: int, gid: int | None) -> None:
    if os.geteuid() != 0:  # nothing to drop; `setuid` says whether it may
        return
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a number without an entry, as in containers
        os.setgroups([] if gid is None else [gid])
    else:
        os.initgroups(name, os.getgid() if gid is None else gid)


def _can_be_root() -> bool:
    try:
        os.setuid(0)
    except OSError:
        return False
    return True


def _identity(uid: str | None, gid: str | None) -> tuple[int | None, int | None] | None:
    """The numbers of user and group; without a group it is the user's own. Raises: Refused (77)."""
    if not uid and not gid:
        return None
    user = _number(uid, "User", lambda name: pwd.getpwnam(name).pw_uid)
    group = _number(gid, "Group", lambda name: grp.getgrnam(name).gr_gid)
    if group is None and user is not None:
        with suppress(KeyError):
            group = pwd.getpwuid(user).pw_gid
    return user, group


def _number(given: str | None, what: str, find: Callable[[str], int]) -> int | None:
    if not given:
        return None
    try:
        return int(given) if given.isdigit() else find(given)
    except KeyError:
        raise Refused(f"{what} does not exist: {given}", EX_NOPERM) from None


# -- the rest ----------------------------------------------------------------------------------------------------------


def read_umask(text: str) -> int:
    """Octal with a leading zero, else decimal, as Celery reads it. Raises: ValueError."""
    return int(text, 8 if text.startswith("0") else 10)


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise Refused(f"--workdir {folder}: {error.strerror}", EX_USAGE) from None


def _check_writable(path: str) -> None:
    """Later nobody would hear that there is no log. Raises: Refused (73)."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666))
    except OSError as error:
        raise Refused(f"cannot write the log file {path}: {error.strerror}{_owner(path)}", EX_CANTCREAT) from None


def _owner(path: str) -> str:
    """Whose it is, where that may be the reason."""
    try:
        there = path if os.path.exists(path) else os.path.dirname(os.path.abspath(path))
        return f" ({there} belongs to user {os.stat(there).st_uid}, this is user {os.geteuid()})"
    except OSError:
        return ""


def _same_program(one: str, other: str) -> bool:
    return os.path.abspath(os.path.expanduser(one)) == os.path.abspath(other)


def _start_over(executable: str) -> NoReturn:
    """The same command in another interpreter."""
    kept: list[str] = []
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word == "--executable":
            next(words, None)
        elif not word.startswith("--executable="):
            kept.append(word)
    program = os.path.expanduser(executable)
    try:
        os.execv(program, [program, *kept])
    except OSError as error:
        raise Refused(f"--executable {executable}: {error.strerror}", EX_USAGE) from None
