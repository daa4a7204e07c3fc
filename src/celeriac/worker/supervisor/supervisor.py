"""The supervisor: one loop that keeps a node going. Signals, lines and news of its threads are handled one by one.

It runs no task code, imports no app, and waits on no network: `upkeep` and `doorbell` do, in threads of their own.
`crew` starts runners and sees them end, `oversight` looks at what they run.
"""

from __future__ import annotations

import logging
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any

from ..plan import Plan
from .board import Board
from .crew import Crew, Watchers
from .doorbell import Doorbell
from .give_back import GiveBack
from .oversight import Oversight
from .post import Post
from .process import RunnerHandle, Template
from .quarantine import Command, Quarantine
from .signals import SignalMailbox
from .upkeep import Upkeep

logger = logging.getLogger("celeriac.worker")

#: Seconds between looks at the board.
TICK = 0.2
#: Seconds that the broker has, once the last runner has ended, to be told so; later the leases run out by themselves.
FAREWELL = 10.0

WARM = (signal.SIGTERM, signal.SIGINT)
COLD = (signal.SIGQUIT,)


class Supervisor:
    """`template` has said hello. `run` is given upkeep and doorbell, not yet started, and returns the exit code."""

    _upkeep: Upkeep
    _doorbell: Doorbell
    _give_back: GiveBack
    _oversight: Oversight
    _crew: Crew

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
    ) -> None:
        self._node = node
        self._plan = plan
        self._board = board
        self._template = template
        self._new_template = new_template
        self._post = post
        self._on_ready: Callable[[], None] | None = on_ready
        self._selector = selectors.DefaultSelector()
        self._quarantine = Quarantine()
        self._online = True
        self._stopping_since: float | None = None
        self._exit_code = 0

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self, upkeep: Upkeep, doorbell: Doorbell) -> int:
        """Until stopped: 0, or 70 where runners keep dying before they are ready."""
        self._upkeep, self._doorbell = upkeep, doorbell
        self._give_back = GiveBack(self._board, upkeep)
        self._oversight = Oversight(self._board, self._give_back)
        self._crew = self._assemble()
        mailbox = SignalMailbox([*WARM, *COLD])
        self._selector.register(mailbox, selectors.EVENT_READ, lambda: self._signals(mailbox))
        self._selector.register(self._post, selectors.EVENT_READ, self._news)
        upkeep.start()
        doorbell.start()
        self._crew.start()
        next_tick = time.monotonic() + TICK
        while not self._finished():
            for key, _ in self._selector.select(max(0.0, next_tick - time.monotonic())):
                key.data()
            if (now := time.monotonic()) >= next_tick:
                self._tick(now)
                next_tick = now + TICK
        self._leave(mailbox)
        return self._exit_code

    def _assemble(self) -> Crew:
        return Crew(
            node=self._node,
            slots=self._plan.processes,
            board=self._board,
            template=self._template,
            new_template=self._new_template,
            selector=self._selector,
            orders=self._upkeep,
            watchers=Watchers(
                said=self._said,
                ready=self._ready,
                fresh=self._oversight.forget,
                gone=self._gone,
                hopeless=self._hopeless,
            ),
        )

    def _finished(self) -> bool:
        crew = self._crew
        if self._stopping_since is None or crew.runners:
            return False
        return not crew.unsettled or time.monotonic() - max(self._stopping_since, crew.last_end) > FAREWELL

    def _leave(self, mailbox: SignalMailbox) -> None:
        self._doorbell.stop()
        self._upkeep.stop()
        self._upkeep.join(timeout=10)
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
        excused = not self._online or self._quarantine.active or self._stopping_since is not None
        self._oversight.look(self._crew.ready(), now, excused=excused)
        self._command(self._quarantine.tick(now))
        grace = self._plan.grace
        since = self._stopping_since
        if since is not None and not self._crew.cold and grace is not None and now - since > grace:
            logger.warning("tasks still run after the grace of %.0fs: they go back to their queues", grace)
            self._stop_cold()

    # -- what the crew sees ------------------------------------------------------------------------------------------

    def _said(self, handle: RunnerHandle, word: str, more: dict[str, Any]) -> None:
        if word == "idle":
            self._doorbell.idle(handle.slot)
        elif word == "quieted":
            self._command(self._quarantine.quieted(handle.slot))
        elif word == "quarantined":
            self._command(self._quarantine.ran(handle.slot, bool(more.get("ran"))))

    def _ready(self, handle: RunnerHandle) -> None:
        if self._on_ready is not None:
            self._on_ready()
            self._on_ready = None

    def _gone(self, handle: RunnerHandle) -> None:
        self._doorbell.busy(handle.slot)
        if handle.slot not in self._crew.runners:
            self._command(self._quarantine.gone(handle.slot))

    def _hopeless(self) -> None:
        self._exit_code = 70
        self._stop_cold()

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

    def online(self, yes: bool) -> None:
        self._online = yes

    def quarantined(self, waiting: int) -> None:
        """Upkeep: so many messages wait that must run with nothing beside them."""
        if self._stopping_since is None and not self._quarantine.active:
            ready = [handle.slot for handle in self._crew.ready()]
            if len(ready) == self._crew.slots:
                logger.warning("%d messages under which nodes died wait: running them alone", waiting)
                self._command(self._quarantine.wanted(ready, time.monotonic()))

    def wake(self, slot: int) -> None:
        """From the doorbell's thread: something may be there for this idle runner."""
        handle = self._crew.runners.get(slot)
        if handle is not None:
            handle.line.say("wake")

    def _command(self, commands: list[Command]) -> None:
        for slot, word in commands:
            if slot in self._crew.runners:
                self._crew.runners[slot].line.say(word)

    # -- stopping ----------------------------------------------------------------------------------------------------

    def _signals(self, mailbox: SignalMailbox) -> None:
        for number in mailbox.take():
            if number in COLD or (number == signal.SIGINT and self._stopping_since is not None):
                self._say_stop("Cold")
                self._stop_cold()
            elif self._stopping_since is None:
                self._say_stop("Warm")
                self._stop_warm()

    def _say_stop(self, how: str) -> None:
        more = "" if how == "Cold" else ": running tasks end first; a second Ctrl-C hands them back now"
        logger.warning("worker: %s shutdown (%s)%s", how, self._node, more)

    def _stop_warm(self) -> None:
        self._stopping_since = time.monotonic()
        self._crew.stop()
        self._oversight.give_back_all(self._crew.runners.values())

    def _stop_cold(self) -> None:
        if self._stopping_since is None:
            self._stop_warm()
        self._crew.kill("shutdown")
