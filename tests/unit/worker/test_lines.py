"""A supervisor's end of a line waits for nobody: a runner reads nothing as long as its task runs."""

from __future__ import annotations

import gc
import os
import signal
import threading

from celeriac import Celery
from celeriac.worker.boot import Template
from celeriac.worker.lines import Line
from celeriac.worker.loaded import Loaded, plan_of
from celeriac.worker.options import WorkerOptions
from celeriac.worker.supervisor.board import Board
from tests.processes import until


def test_a_runner_that_does_not_read_keeps_nobody_waiting_and_misses_no_word() -> None:
    here, there = Line.pair()
    here.impatient = True
    words = [("pause", {"why": str(n)}) for n in range(2000)] + [("mourn", {"payload": "x" * 64_000})] * 10
    for word, more in words:
        here.say(word, **more)  # 270 words, or four long ones, are all that a socket has room for
    assert not here.push()
    heard = []
    while len(heard) < len(words):
        here.push()
        heard += there.said()
    assert heard == words
    assert here.push()
    there.close()
    here.say("stop")
    assert here.push()  # nothing is kept for the dead
    here.close()


class Childless(Template):
    """Answers as if it had forked."""

    def _start(self, fd: int, *arguments: str) -> int:
        os.close(fd)
        return 1


def test_a_template_reads_on_while_its_supervisor_only_writes() -> None:
    """Each waiting for the other to read was the end of a node with 600 slots."""
    app = Celery("many", broker="memory://", set_as_current=False)
    here, there = Line.pair()
    options = WorkerOptions()
    template = Childless(Loaded(app, plan_of(app, options), options, "n@here"), there, Board(), "{}")

    def ask() -> None:
        for slot in range(2000):
            fd = os.dup(0)
            here.say("fork", fds=(fd,), slot=slot, consumer="n@here:1-a/0.1")
            os.close(fd)

    asking = threading.Thread(target=ask, daemon=True)
    before = signal.getsignal(signal.SIGCHLD)
    asking.start()
    heard: list[int] = []

    def hear() -> None:
        asking.join(30)
        while len(heard) < 2000 and not here.closed:
            heard.extend(more["slot"] for word, more in here.said() if word == "forked")
        here.sock.shutdown(2)

    hearing = threading.Thread(target=hear, daemon=True)
    hearing.start()
    try:
        template.serve()  # ends with its supervisor's end of the line
    finally:
        gc.unfreeze()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)
    until(lambda: not hearing.is_alive(), what="the supervisor heard all")
    assert heard == list(range(2000))
    here.close()
    there.close()
