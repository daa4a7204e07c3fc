"""The supervisor: one loop that keeps runners alive. Signals, lines and news of its threads are handled one by one.

It runs no task code, imports no app, and waits on no network: `upkeep` and `doorbell` do, in threads of their own.
"""

from __future__ import annotations

import logging
import os
import queue
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from ..plan import Plan
from .board import Board
from .doorbell import Doorbell
from .give_back import LONG, GiveBack
from .process import Mode, RunnerHandle, Template, describe_exit
from .quarantine import Command, Quarantine
from .signals import SignalMailbox
from .upkeep import Upkeep
from .watchdog import Watchdog

logger = logging.getLogger("celeriac.worker")

#: Seconds between looks at the board.
TICK = 0.2
#: Runners that die one after the other before they are ready: then something is wrong that a new one will not mend.
FALSE_STARTS = 5
#: A runner's exit status where broker or backend was away: another is tried after so many seconds, until one can start.
UNAVAILABLE, ANOTHER_TRY = 69, 1.0
#: Seconds that the broker has, once the last runner has ended, to be told so; later the leases run out by themselves.
FAREWELL = 10.0

WARM = (signal.SIGTERM, signal.SIGINT)
COLD = (signal.SIGQUIT,)


class Post:
    """News from other threads: callables that the loop runs."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._here, self._there = socket.socketpair()
        self._here.setblocking(False)
        self._there.setblocking(False)

    def fileno(self) -> int:
        return self._here.fileno()

    def put(self, news: Callable[[], None]) -> None:
        self._queue.put(news)
        try:
            self._there.send(b"!")
        except OSError:
            pass  # full: the loop has been told already; closed: nobody is interested any more

    def take(self) -> list[Callable[[], None]]:
        try:
            self._here.recv(4096)
        except BlockingIOError:
            pass
        news = []
        while not self._queue.empty():
            news.append(self._queue.get_nowait())
        return news

    def close(self) -> None:
        self._here.close()
        self._there.close()


class Supervisor:
    """`template` has said hello. `run` is given upkeep and doorbell, not yet started, and returns the exit code."""

    _upkeep: Upkeep
    _doorbell: Doorbell
    _give_back: GiveBack

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
        #: Whether the template has said hello: a new one loads the app while the loop goes on.
        self._loaded = True
        self._post = post
        self._on_ready: Callable[[], None] | None = on_ready
        self._selector = selectors.DefaultSelector()
        self._runners: dict[int, RunnerHandle] = {}
        #: Consumers whose end the broker has not been told yet.
        self._unsettled: set[str] = set()
        self._generation = 0
        self._false_starts = 0
        self._respawn: dict[int, float] = {}
        self._quarantine = Quarantine()
        self._watchdog = Watchdog()
        self._online = True
        self._stopping_since: float | None = None
        self._last_end = 0.0
        self._cold = False
        self._exit_code = 0

    # -- the loop ----------------------------------------------------------------------------------------------------

    def run(self, upkeep: Upkeep, doorbell: Doorbell) -> int:
        """Until stopped: 0, or 70 where runners keep dying before they are ready."""
        self._upkeep, self._doorbell, self._give_back = upkeep, doorbell, GiveBack(self._board, upkeep)
        mailbox = SignalMailbox([*WARM, *COLD])
        self._selector.register(mailbox, selectors.EVENT_READ, lambda: self._signals(mailbox))
        self._selector.register(self._post, selectors.EVENT_READ, self._news)
        self._watch_template()
        upkeep.start()
        doorbell.start()
        for slot in range(self._plan.concurrency):
            self._spawn(slot)
        next_tick = time.monotonic() + TICK
        while not self._finished():
            for key, _ in self._selector.select(max(0.0, next_tick - time.monotonic())):
                key.data()
            if (now := time.monotonic()) >= next_tick:
                self._tick(now)
                next_tick = now + TICK
        self._leave(mailbox)
        return self._exit_code

    def _finished(self) -> bool:
        if self._stopping_since is None or self._runners:
            return False
        return not self._unsettled or time.monotonic() - max(self._stopping_since, self._last_end) > FAREWELL

    def _leave(self, mailbox: SignalMailbox) -> None:
        self._doorbell.stop()
        self._upkeep.stop()
        self._upkeep.join(timeout=10)
        self._template.close()
        self._doorbell.join(timeout=2)
        mailbox.close()
        self._selector.close()
        self._post.close()

    def _news(self) -> None:
        for news in self._post.take():
            news()

    def _tick(self, now: float) -> None:
        for slot, when in list(self._respawn.items()):
            if now >= when:
                del self._respawn[slot]
                self._spawn(slot)
        self._watchdog.begin(now)
        if not self._online or self._quarantine.active or self._stopping_since is not None:
            self._watchdog.excuse()
        for handle in list(self._runners.values()):
            if handle.mode is Mode.READY:
                self._look_at(handle, now)
        self._command(self._quarantine.tick(now))
        grace = self._plan.grace
        since = self._stopping_since
        if since is not None and not self._cold and grace is not None and now - since > grace:
            logger.warning("tasks still run after the grace of %.0fs: they go back to their queues", grace)
            self._stop_cold()

    def _look_at(self, handle: RunnerHandle, now: float) -> None:
        """Give back what waits behind a long task; replace a runner that has stopped turning."""
        receipt, since, turns = self._board.running(handle.slot)
        if receipt and now - since > LONG:
            self._give_back.behind(handle.slot, handle.consumer, receipt)
        if self._watchdog.look(handle.slot, receipt, turns, now):
            logger.error("runner %d makes no turn: it is replaced", handle.slot)
            handle.kill("it made no progress")

    # -- runners -----------------------------------------------------------------------------------------------------

    def _spawn(self, slot: int) -> None:
        if self._stopping_since is not None:
            return
        self._generation += 1
        self._give_back.forget(slot)
        self._watchdog.forget(slot)
        self._upkeep.enlist(slot, f"{self._node}/{slot}.{self._generation}")

    def enlisted(self, slot: int, consumer: str) -> None:
        """Upkeep has the lease: have the runner forked."""
        if self._stopping_since is not None:
            self._unsettled.add(consumer)
            self._upkeep.retire(consumer)
            return
        if self._template.line.closed:
            self._template, self._loaded = self._new_template(), False
            self._watch_template()
        line = self._template.fork(slot, consumer)  # one that still loads reads it when it has done so
        handle = RunnerHandle(slot=slot, consumer=consumer, line=line, since=time.monotonic())
        self._runners[slot] = handle
        self._selector.register(line, selectors.EVENT_READ, lambda: self._runner_said(handle))

    def _runner_said(self, handle: RunnerHandle) -> None:
        if self._runners.get(handle.slot) is not handle:  # ended by what was handled just before
            return
        for word, more in handle.line.said():
            if word == "idle":
                self._doorbell.idle(handle.slot)
            elif word == "ready":
                self._runner_ready(handle)
            elif word == "quieted":
                self._command(self._quarantine.quieted(handle.slot))
            elif word == "quarantined":
                self._command(self._quarantine.ran(handle.slot, bool(more.get("ran"))))
        if handle.line.closed:
            self._selector.unregister(handle.line)
            handle.line.close()
            self._doorbell.busy(handle.slot)

    def _runner_ready(self, handle: RunnerHandle) -> None:
        handle.mode = Mode.READY
        self._false_starts = 0
        if self._stopping_since is not None:
            handle.line.say("stop")
        if self._on_ready is not None:
            self._on_ready()
            self._on_ready = None

    def wake(self, slot: int) -> None:
        """From the doorbell's thread: something may be there for this idle runner."""
        handle = self._runners.get(slot)
        if handle is not None:
            handle.line.say("wake")

    def _runner_ended(self, handle: RunnerHandle, status: int | None, *, definite: bool = True) -> None:
        """`definite`: what it ran is to blame, and not something that ran beside it."""
        if self._runners.get(handle.slot) is not handle:
            return
        del self._runners[handle.slot]
        if not handle.line.closed:
            self._selector.unregister(handle.line)
            handle.line.close()
        self._doorbell.busy(handle.slot)
        running, _, _ = self._board.running(handle.slot)
        self._unsettled.add(handle.consumer)
        if status == 0 and not running:
            self._upkeep.retire(handle.consumer)
        else:
            how = describe_exit(status)
            on_purpose = self._cold or self._ended_with_us(status)
            if not on_purpose:
                logger.error("Process 'ForkPoolWorker-%d' pid:%d exited with '%s'", handle.slot + 1, handle.pid, how)
            how = handle.killed_for or how
            self._upkeep.bury(handle.consumer, running, how, on_purpose=on_purpose, definite=definite)
        self._command(self._quarantine.gone(handle.slot))
        self._last_end = time.monotonic()

    def _ended_with_us(self, status: int | None) -> bool:
        """A service manager sends SIGTERM to every process of the service at once: no task is to blame for that."""
        return self._stopping_since is not None and status == signal.SIGTERM

    def _replace(self, handle: RunnerHandle, status: int | None) -> None:
        if status is not None and os.waitstatus_to_exitcode(status) == UNAVAILABLE:
            # An outage is no reason to end the runners that still run.
            self._respawn[handle.slot] = time.monotonic() + ANOTHER_TRY
        elif handle.mode is not Mode.STARTING:
            if time.monotonic() - handle.since > 1.0:
                self._spawn(handle.slot)
            else:  # a message that kills at once must not make a storm of forks
                self._respawn[handle.slot] = time.monotonic() + 0.2
        else:
            self._falsely_started([handle.slot])

    def _falsely_started(self, slots: list[int]) -> None:
        self._false_starts += 1
        if self._false_starts >= FALSE_STARTS and self._stopping_since is None:
            logger.critical("%d runners in a row died before they were ready: giving up", self._false_starts)
            self._exit_code = 70
            self._stop_cold()
        else:
            self._respawn |= dict.fromkeys(slots, time.monotonic() + min(5.0, 0.2 * 2**self._false_starts))

    def settled(self, consumer: str) -> None:
        """Upkeep: the broker knows that this consumer is gone."""
        self._unsettled.discard(consumer)

    def fenced(self, slot: int) -> None:
        """Upkeep: another node took this runner's lease. It ends when its task does, and a new one takes its place."""
        handle = self._runners.get(slot)
        if handle is not None:
            logger.warning("the lease of runner %d was taken by another node: it will be replaced", slot)
            handle.line.say("stop")

    def online(self, yes: bool) -> None:
        self._online = yes

    # -- quarantine --------------------------------------------------------------------------------------------------

    def quarantined(self, waiting: int) -> None:
        """Upkeep: so many messages wait that must run with nothing beside them."""
        if self._stopping_since is None and not self._quarantine.active:
            ready = [handle.slot for handle in self._runners.values() if handle.mode is Mode.READY]
            if len(ready) == self._plan.concurrency:
                logger.warning("%d messages under which nodes died wait: running them alone", waiting)
                self._command(self._quarantine.wanted(ready, time.monotonic()))

    def _command(self, commands: list[Command]) -> None:
        for slot, word in commands:
            if slot in self._runners:
                self._runners[slot].line.say(word)

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
        handle = self._runners.get(more["slot"])
        if handle is not None and handle.consumer == more["consumer"]:
            handle.pid = more["pid"]
            if self._cold:
                handle.kill("shutdown")

    def _exited(self, more: dict[str, Any]) -> None:
        for handle in list(self._runners.values()):
            if handle.pid == more["pid"]:
                self._runner_ended(handle, more["status"])
                self._replace(handle, more["status"])

    def _template_lost(self) -> None:
        """Its runners die with it. The first of their successors brings a new one."""
        logger.error("the template process is gone: starting anew")
        self._selector.unregister(self._template.line)
        self._template.close()
        handles = list(self._runners.values())
        # A task may have killed it. Which one, nobody knows, unless only one ran.
        definite = sum(1 for handle in handles if self._board.running(handle.slot)[0]) == 1
        for handle in handles:
            handle.kill("its template died")
            self._runner_ended(handle, None, definite=definite)
        if any(handle.mode is Mode.READY for handle in handles):
            for handle in handles:
                self._spawn(handle.slot)
        else:  # one false start, however many runners it was to have
            self._falsely_started([handle.slot for handle in handles])

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
        self._respawn.clear()
        if not self._loaded:  # its runners do not exist yet: nothing can be told to stop
            self._template.process.kill()
        for handle in self._runners.values():
            handle.line.say("stop")
            receipt, _, _ = self._board.running(handle.slot)
            if receipt:
                self._give_back.behind(handle.slot, handle.consumer, receipt)

    def _stop_cold(self) -> None:
        if self._stopping_since is None:
            self._stop_warm()
        self._cold = True
        for handle in list(self._runners.values()):
            handle.kill("shutdown")
