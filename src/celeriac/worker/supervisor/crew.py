"""The crew: the runners of a node and the template they are forked from - who starts, who has ended, who comes next.

Part of the supervisor's loop: called from it only, and it waits for nothing. What ended runs come to is judged by
`verdicts`; which runner must be ended, and why, is the business of whoever calls `kill` on its handle.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from msgspec import Struct

from .board import Board
from .fates import Fate, Lost
from .process import Mode, RunnerHandle, Template, describe_exit

logger = logging.getLogger("celeriac.worker")

#: Runners that die one after the other before they are ready: then something is wrong that a new one will not mend.
FALSE_STARTS = 5
#: A runner's exit status where broker or backend was away: another is tried after so many seconds, until one can start.
UNAVAILABLE, ANOTHER_TRY = 69, 1.0


class Orders(Protocol):
    """What the crew wants of `Upkeep`."""

    def enlist(self, slot: int, consumer: str) -> None: ...
    def bury(self, consumer: str, fates: dict[int, Fate]) -> None: ...
    def retire(self, consumer: str) -> None: ...


class Watchers(Struct, frozen=True):
    """Who is told what the crew sees; called in the loop."""

    #: A runner asks for work, is ready, or says anything else: (its handle, word, more).
    said: Callable[[RunnerHandle, str, dict[str, Any]], None]
    ready: Callable[[RunnerHandle], None]
    #: A new runner is about to take the slot.
    fresh: Callable[[int], None]
    #: It holds nothing and starts nothing any more.
    gone: Callable[[RunnerHandle], None]
    #: No runner can be started.
    hopeless: Callable[[], None]


class Crew:
    """`slots` runners from `template`, which has said hello. `close` ends the template."""

    def __init__(
        self,
        *,
        node: str,
        slots: int,
        board: Board,
        template: Template,
        new_template: Callable[[], Template],
        selector: selectors.BaseSelector,
        orders: Orders,
        watchers: Watchers,
    ) -> None:
        self._node = node
        self._board = board
        self._template = template
        self._new_template = new_template
        #: Whether the template has said hello: a new one loads the app while the loop goes on.
        self._loaded = True
        self._selector = selector
        self._orders = orders
        self._tell = watchers
        self.slots = slots
        self.runners: dict[int, RunnerHandle] = {}
        #: Consumers whose end the broker has not been told yet.
        self.unsettled: set[str] = set()
        self.last_end = 0.0
        self._generation = 0
        self._false_starts = 0
        self._respawn: dict[int, float] = {}
        #: No new runner; and those that end have not been killed by what they ran.
        self.stopping = False
        self.cold = False
        self._watch_template()

    def start(self) -> None:
        for slot in range(self.slots):
            self.spawn(slot)

    def ready(self) -> list[RunnerHandle]:
        """The runners that serve, in the order of their slots."""
        return [handle for _, handle in sorted(self.runners.items()) if handle.mode is Mode.READY]

    def tick(self, now: float) -> None:
        """Start the runners that were to wait a little."""
        for slot, when in list(self._respawn.items()):
            if now >= when:
                del self._respawn[slot]
                self.spawn(slot)

    def stop(self) -> None:
        """Tell all runners to settle what they hold and end; start no other."""
        self.stopping = True
        self._respawn.clear()
        if not self._loaded:  # its runners do not exist yet: nothing can be told to stop
            self._template.process.kill()
        for handle in self.runners.values():
            handle.line.say("stop")

    def kill(self, why: str) -> None:
        """End all runners now; what they run is not blamed for it."""
        self.cold = True
        for handle in list(self.runners.values()):
            handle.kill(why)

    def close(self) -> None:
        self._template.close()

    def abandon(self) -> None:
        """End the template by force, and with it whatever it started; the loop hears of it by the end of its line."""
        self._template.process.kill()

    # -- runners -----------------------------------------------------------------------------------------------------

    def spawn(self, slot: int) -> None:
        if self.stopping:
            return
        self._generation += 1
        self._tell.fresh(slot)
        self._orders.enlist(slot, f"{self._node}/{slot}.{self._generation}")

    def enlisted(self, slot: int, consumer: str) -> None:
        """Upkeep has the lease: have the runner forked."""
        if self.stopping:
            self.unsettled.add(consumer)
            self._orders.retire(consumer)
            return
        if self._template.line.closed:
            self._template, self._loaded = self._new_template(), False
            self._watch_template()
        line = self._template.fork(slot, consumer)  # one that still loads reads it when it has done so
        handle = RunnerHandle(slot=slot, consumer=consumer, line=line, since=time.monotonic())
        self.runners[slot] = handle
        self._selector.register(line, selectors.EVENT_READ, lambda: self._runner_said(handle))

    def settled(self, consumer: str) -> None:
        """Upkeep: the broker knows that this consumer is gone."""
        self.unsettled.discard(consumer)

    def _runner_said(self, handle: RunnerHandle) -> None:
        if self.runners.get(handle.slot) is not handle:  # ended by what was handled just before
            return
        for word, more in handle.line.said():
            if word == "ready":
                self._runner_ready(handle)
            else:
                self._tell.said(handle, word, more)
        if handle.line.closed:
            self._drop_line(handle)
            self._tell.gone(handle)

    def _runner_ready(self, handle: RunnerHandle) -> None:
        handle.mode = Mode.READY
        self._false_starts = 0
        if self.stopping:
            handle.line.say("stop")
        self._tell.ready(handle)

    def _drop_line(self, handle: RunnerHandle) -> None:
        self._selector.unregister(handle.line)
        handle.line.close()

    def _runner_ended(self, handle: RunnerHandle, status: int | None, *, definite: bool = True) -> None:
        """`definite`: what it ran is to blame, and not something that ran beside it."""
        if self.runners.get(handle.slot) is not handle:
            return
        del self.runners[handle.slot]
        if not handle.line.closed:
            self._drop_line(handle)
        runs = self._board.runs(handle.slot)
        self.unsettled.add(handle.consumer)
        if status == 0 and not runs:
            self._orders.retire(handle.consumer)
        else:
            how = describe_exit(status)
            on_purpose = self.cold or self._ended_with_us(status)
            if not on_purpose and not handle.fates:
                logger.error("Process 'ForkPoolWorker-%d' pid:%d exited with '%s'", handle.slot + 1, handle.pid, how)
            lost = Lost(handle.killed_for or how, definite and len(runs) == 1)
            blamed = {} if on_purpose or handle.fates else {run.receipt: lost for run in runs}
            self._orders.bury(handle.consumer, {**blamed, **handle.fates})
        self._tell.gone(handle)
        self.last_end = time.monotonic()

    def _ended_with_us(self, status: int | None) -> bool:
        """A service manager sends SIGTERM to every process of the service at once: no task is to blame for that."""
        return self.stopping and status == signal.SIGTERM

    def _replace(self, handle: RunnerHandle, status: int | None) -> None:
        if status is not None and os.waitstatus_to_exitcode(status) == UNAVAILABLE:
            # An outage is no reason to end the runners that still run.
            self._respawn[handle.slot] = time.monotonic() + ANOTHER_TRY
        elif handle.mode is not Mode.STARTING:
            if time.monotonic() - handle.since > 1.0:
                self.spawn(handle.slot)
            else:  # a message that kills at once must not make a storm of forks
                self._respawn[handle.slot] = time.monotonic() + 0.2
        else:
            self._falsely_started([handle.slot])

    def _falsely_started(self, slots: Iterable[int]) -> None:
        self._false_starts += 1
        if self._false_starts >= FALSE_STARTS and not self.stopping:
            logger.critical("%d runners in a row died before they were ready: giving up", self._false_starts)
            self._tell.hopeless()
        else:
            self._respawn |= dict.fromkeys(slots, time.monotonic() + min(5.0, 0.2 * 2**self._false_starts))

    # -- the template ------------------------------------------------------------------------------------------------

    def _watch_template(self) -> None:
        self._selector.register(self._template.line, selectors.EVENT_READ, self._template_said)

    def _template_said(self) -> None:
        for word, more in self._template.line.said():
            if word == "forked":
                self._forked(more)
            elif word == "exited":
                self._exited(more)
            elif word == "hello":
                self._loaded = True
            elif word == "failed":
                logger.error("the app cannot be loaded any more:\n%s", more["error"])
        if self._template.line.closed:
            self._template_lost()

    def _forked(self, more: dict[str, Any]) -> None:
        handle = self.runners.get(more["slot"])
        if handle is not None and handle.consumer == more["consumer"]:
            handle.pid = more["pid"]
            if self.cold:
                handle.kill("shutdown")

    def _exited(self, more: dict[str, Any]) -> None:
        for handle in list(self.runners.values()):
            if handle.pid == more["pid"]:
                self._runner_ended(handle, more["status"])
                self._replace(handle, more["status"])

    def _template_lost(self) -> None:
        """Its runners die with it. The first of their successors brings a new one."""
        logger.error("the template process is gone: starting anew")
        self._selector.unregister(self._template.line)
        self._template.close()
        handles = list(self.runners.values())
        # A task may have killed it. Which one, nobody knows, unless only one ran.
        definite = sum(len(self._board.runs(handle.slot)) for handle in handles) == 1
        for handle in handles:
            handle.kill("its template died")
            self._runner_ended(handle, None, definite=definite)
        if any(handle.mode is not Mode.STARTING for handle in handles):
            for handle in handles:
                self.spawn(handle.slot)
        else:  # one false start, however many runners it was to have
            self._falsely_started(handle.slot for handle in handles)
