"""Handles of the processes a supervisor has: one template, which has loaded the app, and the runners forked from it.

The supervisor itself never forks (it has threads) and never imports the app. Nothing here decides; `supervisor` does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from enum import Enum

import msgspec
from msgspec import Struct

from ...brokers.base import Delivery
from ..lines import Line
from ..options import WorkerOptions
from .board import Board
from .fates import Fate


class Mode(Enum):
    """What a runner's process is at."""

    STARTING = "starting"
    READY = "ready"


class RunnerHandle(Struct):
    """One runner: its slot, its lease's name, its line and how it stands."""

    slot: int
    consumer: str
    line: Line
    #: When it was asked for, monotonic seconds.
    since: float
    pid: int = 0
    mode: Mode = Mode.STARTING
    #: Who forked it, and reports its end.
    template: Template | None = None
    #: Why it was killed on purpose, for the log and the stored error.
    killed_for: str = ""
    #: It ends, or soon will, and nothing more is to take its place: its successor is there, or none is wanted.
    leaving: bool = False
    #: It reserves nothing any more: it ends when what runs has ended.
    over: bool = False
    #: It is ready, and starts nothing before its predecessor has ended.
    standby: bool = False
    #: How many of its lanes it was told to use; -1: it was told nothing.
    lanes: int = -1
    #: What its runs come to, by receipt, where we end it because of them: then what ran beside them is not blamed.
    fates: dict[int, Fate] = {}
    #: What it acknowledged before the run, by receipt (`Delivery.was`): the broker has forgotten it.
    early: dict[int, Delivery] = {}

    def kill(self, why: str) -> None:
        """End the process now; its end of file tells the supervisor."""
        self.killed_for = why
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Template:
    """The process that has the app loaded and forks runners on request (`celeriac.worker.boot`)."""

    def __init__(self, options: WorkerOptions, board: Board) -> None:
        here, there = Line.pair()
        self.line = here
        command = [
            sys.executable,
            *subprocess._args_from_interpreter_flags(),  # type: ignore[attr-defined]  # -W, -X, -I … as multiprocessing does
            "-m",
            "celeriac.worker.boot",
            str(there.fileno()),
            str(board.fd),
            str(board.stacks),
            str(os.getpid()),
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            pass_fds=(there.fileno(), board.fd, board.stacks),
            close_fds=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode(options))
        self.process.stdin.close()
        there.close()

    def fork(self, slot: int, consumer: str, pauses: Iterable[str] = ()) -> Line:
        """Ask for a runner, which is paused from its start for each of the reasons given; returns our end of its line.
        `forked` or its end of file follows."""
        here, there = Line.pair()
        here.impatient = True
        for why in pauses:
            here.say("pause", why=why)
        self.line.say("fork", fds=(there.fileno(),), slot=slot, consumer=consumer)
        there.close()
        return here

    def attend(self) -> Line:
        """Ask for an attendant; returns our end of its line."""
        here, there = Line.pair()
        self.line.say("attend", fds=(there.fileno(),))
        there.close()
        return here

    def close(self) -> None:
        """End it; its runners end with it."""
        self.line.close()
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def exit_code(status: int | None) -> int | None:
    """Of a process that ended by itself; negative: the signal that ended it. None: not known."""
    return None if status is None else os.waitstatus_to_exitcode(status)


def describe_exit(status: int | None) -> str:
    """`signal 9 (SIGKILL)` or `exitcode 3`, as Celery's WorkerLostError words it."""
    if status is None:
        return "no exit status"
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exitcode {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"signal {-code} ({name})"
