"""The supervisor: one loop that keeps a node going. Signals, lines and news of its threads are handled one by one.

It runs no task code, imports no app, and waits on no network: `upkeep` and `doorbell` do, in threads of their own.
`crew` starts runners and sees them end, `oversight` looks at what they run, `stopping` ends it all.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ...brokers.revocation import Revocation
from ..health import Vitals
from ..lines import on_line
from ..plan import Plan
from .board import Board
from .crew import Crew, Watchers
from .doorbell import Doorbell
from .fates import Fate, told
from .give_back import GiveBack
from .oversight import Oversight, tell_overrun
from .post import Post
from .process import RunnerHandle, Template
from .quarantine import Command, Quarantine
from .renewal import Renewal
from .resources import Resources
from .signals import SignalMailbox
from .stopping import EX_HARD, EXIT, Announce, Stopping
from .upkeep import Upkeep
from .wanted import Found

logger = logging.getLogger("celeriac.worker")

#: Seconds between looks at the board.
TICK = 0.2
#: Seconds that the hooks of a run that was ended wait for an idle runner; then a busy one gets them.
MOURNED = 2.0

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Supervisor:
    """`template` has said hello. `run` is given upkeep and doorbell, not yet started, and returns the exit code."""

    _upkeep: Upkeep
    _doorbell: Doorbell
    _give_back: GiveBack
    _oversight: Oversight
    _crew: Crew
    _stopping: Stopping
    renewal: Renewal

    def __init__(
        self,
        *,
        node: str,
        plan: Plan,
        board: Board,
        template: Template,
        new_template: Callable[[], Template],
        post: Post,
        on_ready: Callable[[], None],
        on_stopping: Announce,
        accept: Callable[[dict[str, Any]], str] = lambda plan: "",
        on_renewed: Callable[[], None] = lambda: None,
        on_tick: Callable[[float], None] | None = None,
        on_end: Callable[[], None] = lambda: None,
        on_signal: Mapping[int, Callable[[], None]] = MappingProxyType({}),
    ) -> None:
        self._node = node
        self._plan = plan
        self._board = board
        self._template = template
        self._new_template = new_template
        self._post = post
        self._on_ready: Callable[[], None] | None = on_ready
        self._on_stopping = on_stopping
        self._accept = accept
        self._on_renewed = on_renewed
        self._on_tick = on_tick
        self._on_end = on_end
        self._on_signal = on_signal
        self._selector = selectors.DefaultSelector()
        self._quarantine = Quarantine()
        self._online = True
        self._exit_code = 0
        #: Runs whose hooks are still to be called, and since when.
        self._mourned: deque[tuple[float, dict[str, Any]]] = deque(maxlen=100)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self, upkeep: Upkeep, doorbell: Doorbell) -> int:
        """Until stopped: 0, 1 by force, or 70 where runners keep dying before they are ready."""
        self._upkeep, self._doorbell = upkeep, doorbell
        self._give_back = GiveBack(self._board, upkeep)
        self._oversight = Oversight(self._board, self._give_back)
        self._crew = self._assemble()
        self._resources = Resources(self._plan, self._crew, self._board, upkeep)
        self.renewal = Renewal(
            self._crew,
            self._selector,
            self._new_template,
            self._accept,
            self._on_renewed,
            many=self._plan.lanes > 1,
        )
        self._stopping = Stopping(
            crew=self._crew,
            board=self._board,
            plan=self._plan,
            give_back_all=lambda: self._oversight.give_back_all(self._crew.runners.values()),
            announce=self._on_stopping,
        )
        mailbox = SignalMailbox([*STOP, *self._on_signal])
        self._selector.register(mailbox, selectors.EVENT_READ, lambda: self._signals(mailbox))
        self._selector.register(self._post, selectors.EVENT_READ, self._news)
        upkeep.start()
        doorbell.start()
        self._crew.start()
        next_tick = time.monotonic() + TICK
        deadlines = self._oversight.deadlines
        while not self._stopping.finished(time.monotonic()):
            wake = min(next_tick, deadlines.soonest)
            for key, _ in self._selector.select(max(0.0, wake - time.monotonic())):
                key.data()
            if (now := time.monotonic()) >= deadlines.soonest:
                deadlines.look(self._crew.ready(), now)
            if now >= next_tick:
                self._tick(now)
                next_tick = now + TICK
        self._leave(mailbox)
        return EX_HARD if self._stopping.hard else self._exit_code

    def _first(self) -> int:
        """Runners to begin with: with autoscale as few as there are at least."""
        plan = self._plan
        return plan.least if plan.least and plan.lanes == 1 else plan.processes

    def _assemble(self) -> Crew:
        return Crew(
            node=self._node,
            slots=self._first(),
            board=self._board,
            template=self._template,
            new_template=self._new_template,
            selector=self._selector,
            orders=self._upkeep,
            watchers=Watchers(
                said=self._said,
                ready=self._ready,
                died_early=self._died_early,
                fresh=self._oversight.forget,
                gone=self._gone,
                hopeless=self._hopeless,
            ),
        )

    def _leave(self, mailbox: SignalMailbox) -> None:
        with contextlib.suppress(RuntimeError, ValueError, OSError):  # no stderr to write to
            faulthandler.dump_traceback_later(EXIT, exit=True)
        if self._stopping.hard:
            self._crew.abandon()
            return
        self._doorbell.stop()
        self._upkeep.stop()
        self._upkeep.join(timeout=10)
        self._on_end()
        self._crew.close()
        self._doorbell.join(timeout=2)
        mailbox.close()
        self._selector.close()
        self._post.close()

    def _news(self) -> None:
        for news in self._post.take():
            news()

    def _tick(self, now: float) -> None:
        self._crew.tick(now)
        if self._mourned:
            self._pass_on_mourned(now)
        excused = not self._online or self._quarantine.active or self._stopping.begun or bool(self._crew.pauses)
        self._oversight.look(self._crew.ready(), now, excused=excused)
        self._command(self._quarantine.tick(now))
        self._resources.tick(now, stopping=self._stopping.begun)
        self._stopping.tick(now)
        if self._stopping.begun:
            self.renewal.stop()
        else:
            self.renewal.tick()
        if self._on_tick is not None:
            self._on_tick(now)

    # -- what the crew sees ------------------------------------------------------------------------------------------

    def _said(self, handle: RunnerHandle, word: str, more: dict[str, Any]) -> None:
        if word == "idle":
            self._doorbell.idle(handle.slot)
        elif word == "overran":
            tell_overrun(more)
        elif word == "quieted":
            self._command(self._quarantine.quieted(handle.slot))
        elif word == "quarantined":
            self._command(self._quarantine.ran(handle.slot, bool(more.get("ran"))))
        else:
            self._resources.said(handle, word, more)

    def _ready(self, handle: RunnerHandle) -> None:
        if self._on_ready is not None:
            self._on_ready()
            self._on_ready = None
        self.renewal.ready(handle)

    def _died_early(self, handle: RunnerHandle) -> None:
        self.renewal.died_early(handle)

    def _gone(self, handle: RunnerHandle) -> None:
        self._doorbell.busy(handle.slot)
        if handle.slot not in self._crew.runners:
            self._command(self._quarantine.gone(handle.slot))

    def _hopeless(self) -> None:
        self._exit_code = 70
        self._stopping.begin_cold()

    # -- news of other threads ---------------------------------------------------------------------------------------

    def enlisted(self, slot: int, consumer: str) -> None:
        """Upkeep has the lease of a new runner."""
        self._crew.enlisted(slot, consumer)

    def settled(self, consumer: str) -> None:
        """Upkeep: the broker knows that this consumer is gone."""
        self._crew.settled(consumer)

    def fenced(self, slot: int) -> None:
        """Upkeep: another node took this runner's lease. It ends when its task does, and a new one takes its place."""
        handle = self._crew.runners.get(slot)
        if handle is not None:
            logger.warning("the lease of runner %d was taken by another node: it will be replaced", slot)
            handle.line.say("stop")

    def ended(self, payload: bytes, fate: Fate) -> None:
        """Upkeep: this run ended with its process, for good. Some runner is to call its hooks."""
        kind, value = told(fate)
        self._mourned.append((time.monotonic(), {"payload": on_line(payload), "kind": kind, "value": value}))
        self._pass_on_mourned(time.monotonic())

    def _pass_on_mourned(self, now: float) -> None:
        """To a runner that runs nothing: one that is ended itself would take it along."""
        while self._mourned:
            handles = [each for each in self._crew.ready() if each.line.push()]  # the others have not read the last one
            idle = [handle for handle in handles if not self._board.last(handle.slot)[0]]
            if not idle and (not handles or now - self._mourned[0][0] <= MOURNED):
                return
            (idle or handles)[0].line.say("mourn", **self._mourned.popleft()[1])

    def wanted(self, found: list[Found], orders: list[Revocation]) -> None:
        """Upkeep: these runs are to end, and whatever else is revoked by these orders."""
        self._oversight.end(self._crew.ready(), found, orders)

    def rates(self, changes: list[tuple[str, str]]) -> None:
        """Upkeep: somebody has changed rate limits."""
        self._resources.change_rates(changes)

    def online(self, yes: bool) -> None:
        self._online = yes

    def quarantined(self, waiting: int) -> None:
        """Upkeep: so many messages wait that must run with nothing beside them."""
        if not self._stopping.begun and not self._quarantine.active:
            ready = [handle.slot for handle in self._crew.ready()]
            if len(ready) >= self._crew.slots and not self._crew.busy_starting:  # those that leave count too
                commands = self._quarantine.wanted(ready, time.monotonic())
                if commands:
                    logger.warning("%d messages under which nodes died wait: running them alone", waiting)
                self._command(commands)

    def wake(self, slot: int) -> None:
        """From the doorbell's thread: something may be there for this idle runner."""
        handle = self._crew.runners.get(slot)
        if handle is not None:
            handle.line.say("wake")

    def _command(self, commands: list[Command]) -> None:
        for slot, word in commands:
            if slot in self._crew.runners:
                self._crew.runners[slot].line.say(word)

    # -- signals -----------------------------------------------------------------------------------------------------

    def _signals(self, mailbox: SignalMailbox) -> None:
        for number in mailbox.take():
            if number in self._on_signal:
                self._on_signal[number]()
            else:
                self._stopping.signalled(number)

    # -- what others ask ---------------------------------------------------------------------------------------------

    @property
    def crew(self) -> Crew:
        """Once it runs."""
        return self._crew

    @property
    def resources(self) -> Resources:
        """Once it runs."""
        return self._resources

    def hung_up(self) -> None:
        """The terminal is gone that the node was started from."""
        self._stopping.begin_warm("SIGHUP")

    def write_down(self, vitals: Vitals, now: float) -> None:
        """How the node is, for whoever asks from outside."""
        vitals.runners_ready = len(self._crew.ready())
        vitals.slots = self._crew.slots * self._plan.lanes
        vitals.running = sum(len(self._board.runs(slot)) for slot in self._crew.runners)
        vitals.online = self._online and bool(vitals.runners_ready or vitals.online)
        vitals.stopping = self._stopping.begun
        vitals.more.update(self._resources.facts())
        vitals.paused = ", ".join(sorted(self._crew.pauses))
        vitals.look(now, excused=self._quarantine.active or self._stopping.begun)
