"""`-P solo`: the whole node in one process, for debugging. Upkeep, doorbell and the watch are threads beside the main
one, which runs the tasks: a task that holds the interpreter's lock for longer than a lease loses it."""

from __future__ import annotations

import faulthandler
import logging
import os
import queue
import select
import signal
import socket
import sys
import threading
import time

from ..errors import CeleriacError
from . import lifecycle, loaded
from .banner import banner, show
from .daemon import Station
from .health import HealthServer, Vitals
from .lines import Line
from .logging_setup import set_up
from .options import WorkerOptions
from .runner.start import make_runner
from .supervisor.board import Board
from .supervisor.deadlines import Deadlines
from .supervisor.doorbell import Doorbell
from .supervisor.give_back import LONG, GiveBack
from .supervisor.oversight import tell_overrun
from .supervisor.process import RunnerHandle
from .supervisor.quarantine import Quarantine
from .supervisor.upkeep import Events, Upkeep
from .supervisor.wanted import Found
from .wiring import incarnation, open_upkeep

logger = logging.getLogger("celeriac.worker")

#: Seconds between looks at the board.
_TICK = 0.2


def run(options: WorkerOptions, station: Station, door: socket.socket | None = None) -> int:
    """As `node.run`: 0 stopped, 1 the app could not be loaded, 69 no broker. `door` is where health is served."""
    try:
        app = loaded.load(options)
    except BaseException as error:  # whatever a user's module raises is shown as it is
        sys.stderr.write(loaded.explain(error))
        return 1
    if not options.quiet:
        show(banner(app.hostname, app.plan))
    set_up(app.app.conf, options, redirect=True)
    for line in app.plan.warnings:
        logger.warning("%s", line)
    try:
        return SoloNode(app, options, station, door).run()
    except CeleriacError as error:
        assert sys.__stderr__ is not None
        sys.__stderr__.write(f"celeriac: {error}\n")  # not through the log, which what is printed here goes to
        return 69


class SoloNode:
    """One slot: the runner in the main thread, and the other end of its line in a thread that plays supervisor."""

    def __init__(
        self, app: loaded.Loaded, options: WorkerOptions, station: Station, door: socket.socket | None
    ) -> None:
        plan = app.plan
        own = incarnation(app.hostname)
        self._app = app
        self._board = Board()
        self._line, self._runner_line = Line.pair()
        self._line.impatient = True
        self._consumer = f"{own}/0.1"
        self._enlisted = threading.Event()
        self._settled = threading.Event()
        broker, settler_for, conviction = open_upkeep(app.app, plan)
        if options.purge:
            logger.warning("%d messages purged", broker.purge(plan.queues))
        self._upkeep = Upkeep(
            node=own,
            broker=broker,
            settler_for=settler_for,
            queues=plan.queues,
            board=self._board,
            lease=plan.lease,
            judge=conviction,
            events=Events(
                enlisted=lambda slot, consumer: self._enlisted.set(),
                fenced=lambda slot: self._line.say("stop"),
                quarantined=lambda waiting: self._command(self._quarantine.wanted([0], time.monotonic())),
                settled=lambda consumer: self._settled.set(),
                online=lambda yes: setattr(self, "_online", yes),
                wanted=lambda found, orders: self._found.put(found),
                rates=self._rates,
            ),
        )
        self._doorbell = Doorbell(lambda: broker.waiter(plan.queues), lambda slot: self._line.say("wake"))
        self._give_back = GiveBack(self._board, self._upkeep)
        self._quarantine = Quarantine()
        #: Ourselves, as a supervisor would see us.
        self._handle = RunnerHandle(
            slot=0, consumer=self._consumer, line=self._line, since=time.monotonic(), pid=os.getpid()
        )
        self._found: queue.SimpleQueue[list[Found]] = queue.SimpleQueue()
        self._deadlines = Deadlines(self._board, alone=True)
        self._stopping = False
        self._station = station
        self._vitals = Vitals(app.hostname)
        self._online = True
        if options.reload:
            logger.warning("--reload does nothing with -P solo: choose prefork")
        self._signal = "SIGTERM"
        if door is not None:
            self._upkeep.count_backlog()
            HealthServer(door, self._vitals).start()

    def _rates(self, changes: list[tuple[str, str]]) -> None:
        for task, limit in changes:
            self._line.say("rate", task=task, limit=limit)

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._warm)
        signal.signal(signal.SIGQUIT, self._cold)
        self._upkeep.start()
        self._upkeep.enlist(0, self._consumer)
        if not self._enlisted.wait(timeout=30):
            raise CeleriacError("the broker gave no lease within 30 s")
        self._doorbell.start()
        watch = threading.Thread(target=self._watch, name="watch", daemon=True)
        watch.start()
        if sys.__stderr__ is not None:  # SIGUSR1 is for soft limits here
            faulthandler.register(signal.SIGUSR2, file=sys.__stderr__)
        self._vitals.runners_ready = self._vitals.slots = 1
        lifecycle.process_begins(self._app.hostname, self._app.app.conf)
        logger.info("%s ready.", self._app.hostname)
        self._station.ready()
        lifecycle.ready(self._app.instance)
        runner = make_runner(self._app, self._runner_line, self._board, 0, self._consumer)
        runner.listen_to_signals()
        code = runner.serve()
        self._doorbell.stop()
        self._upkeep.retire(self._consumer)
        self._settled.wait(timeout=10)
        self._upkeep.stop()
        self._upkeep.join(timeout=10)
        lifecycle.last_words(self._app.instance)
        lifecycle.process_ends(self._app.hostname, code)
        return code

    # -- the supervisor's part, in a thread --------------------------------------------------------------------------

    def _watch(self) -> None:
        told = False
        deadlines = self._deadlines
        while not self._line.closed:
            wait = min(_TICK, deadlines.soonest - time.monotonic())
            readable, _, _ = select.select([self._line], [], [], max(0.0, wait))
            self._line.push()
            deadlines.look([self._handle], time.monotonic())
            self._end_found()
            for word, more in self._line.said() if readable else []:
                if word == "overran":
                    tell_overrun(more)
                elif word == "idle":
                    self._doorbell.idle(0)
                elif word == "quieted":
                    self._command(self._quarantine.quieted(0))
                elif word == "quarantined":
                    self._command(self._quarantine.ran(0, bool(more.get("ran"))))
            if self._stopping and not told:  # here, since a signal's handler may have interrupted a log line
                logger.warning("worker: Warm shutdown (MainProcess)")
                lifecycle.stopping(self._app.instance, self._signal, "Warm", 0)
                told = True
            self._write_down()
            receipt, since = self._board.last(0)
            if receipt and (self._stopping or time.monotonic() - since > LONG):
                self._give_back.behind(0, self._consumer, receipt)

    def _write_down(self) -> None:
        vitals = self._vitals
        vitals.running, vitals.online, vitals.stopping = len(self._board.runs(0)), self._online, self._stopping
        vitals.backlog = self._upkeep.backlog
        vitals.look(time.monotonic(), excused=self._quarantine.active or self._stopping)

    def _end_found(self) -> None:
        while not self._found.empty():
            for one in self._found.get():
                self._deadlines.terminate(self._handle, one.receipt, one.signal, time.monotonic())

    def _command(self, commands: list[tuple[int, str]]) -> None:
        for _, word in commands:
            self._line.say(word)

    # -- signals, in the main thread ---------------------------------------------------------------------------------

    def _warm(self, number: int, frame: object) -> None:
        if self._stopping and number == signal.SIGINT:
            self._cold(number, frame)
        self._signal = signal.Signals(number).name
        self._stopping = True
        self._line.say("stop")

    def _cold(self, number: int, frame: object) -> None:
        """Requeue what runs, now. The main thread may be anywhere, so it does not return there."""
        self._upkeep.bury(self._consumer)
        self._settled.wait(timeout=5)
        os._exit(0)
