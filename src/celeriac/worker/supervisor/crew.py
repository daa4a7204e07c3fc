"""The crew: the runners of a node and the template they are forked from - who starts, who has ended, who comes next.

Part of the supervisor's loop: called from it only, and it waits for nothing. What ended runs come to is judged by
`verdicts`; which runner must be ended, and why, is the business of whoever calls `kill` on its handle.
"""

from __future__ import annotations

import base64
import logging
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from msgspec import Struct

from ...brokers.base import Delivery
from ..exits import RECYCLED
from .board import Board
from .fates import Fate, Lost
from .process import Mode, RunnerHandle, Template, describe_exit, exit_code

logger = logging.getLogger("celeriac.worker")

#: Runners that die one after the other before they are ready: then something is wrong that a new one will not mend.
FALSE_STARTS = 5
#: A runner's exit status where broker or backend was away: another is tried after so many seconds, until one can start.
UNAVAILABLE, ANOTHER_TRY = 69, 1.0
#: Receipts that are looked at, at most, where it is not known of which run a process died.
MOST_SUSPECTS = 10_000
#: Why a successor is paused: its predecessor still runs.
SUCCESSION = "succession"


class Orders(Protocol):
    """What the crew wants of `Upkeep`."""

    def enlist(self, slot: int, consumer: str) -> None: ...
    def bury(self, consumer: str, fates: dict[int, Fate], early: list[Delivery]) -> None: ...
    def retire(self, consumer: str) -> None: ...


class Watchers(Struct, frozen=True):
    """Who is told what the crew sees; called in the loop."""

    #: A runner asks for work, is ready, or says anything else: (its handle, word, more).
    said: Callable[[RunnerHandle, str, dict[str, Any]], None]
    ready: Callable[[RunnerHandle], None]
    #: It ended before it was ready.
    died_early: Callable[[RunnerHandle], None]
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
        #: Forks the runners that come next.
        self.template = template
        #: Templates of former code, until their last runner has ended.
        self._former: list[Template] = []
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
        #: Successors by slot, and the consumers that they wait for.
        self._heirs: dict[int, str] = {}
        #: Asked for, and without a lease yet.
        self._enlisting: set[int] = set()
        #: Successors that began before the others had ended, by their names.
        self._sharing: dict[str, str] = {}
        #: Of each runner, how many lanes are used; 0: all.
        self._lanes = 0
        #: Why all runners are paused, those included that start later.
        self.pauses: set[str] = set()
        #: No new runner; and those that end have not been killed by what they ran.
        self.stopping = False
        self.cold = False
        self._watch_template(template)

    def start(self) -> None:
        for slot in range(self.slots):
            self.spawn(slot)

    def ready(self) -> list[RunnerHandle]:
        """The runners that serve, in the order of their slots."""
        return [each for _, each in sorted(self.runners.items()) if each.mode is Mode.READY and not each.standby]

    def tick(self, now: float) -> None:
        """Start the runners that were to wait a little; end templates that are not needed any more."""
        for slot, when in list(self._respawn.items()):
            if now >= when:
                del self._respawn[slot]
                self.spawn(slot)
        self._look_at_heirs()
        for handle in self.runners.values():
            handle.line.push()
        for template in list(self._former):
            if not any(each.template is template for each in self.runners.values()):
                self._selector.unregister(template.line)
                self._former.remove(template)
                template.process.kill()
                template.close()

    def stop(self) -> None:
        """Tell all runners to settle what they hold and end; start no other."""
        self.stopping = True
        self._respawn.clear()
        if not self._loaded:  # its runners do not exist yet: nothing can be told to stop
            self.template.process.kill()
        for handle in self.runners.values():
            handle.line.say("stop")

    def kill(self, why: str) -> None:
        """End all runners now; what they run is not blamed for it."""
        self.cold = True
        for handle in list(self.runners.values()):
            handle.kill(why)

    def close(self) -> None:
        for template in (self.template, *self._former):
            template.close()

    # -- more, fewer, others -----------------------------------------------------------------------------------------

    def succeed(self, handle: RunnerHandle) -> None:
        """Start its successor beside it, which begins when it has ended; whoever asks sees to it that it ends. Where no
        place is free the successor starts when it has ended."""
        slot = self._free_slot()
        if slot is None or self.stopping or handle.leaving:
            return
        handle.leaving = True
        self._heirs[slot] = handle.consumer
        self.spawn(slot)

    def grow(self) -> bool:
        """One runner more. False: there is no place, or no more is wanted."""
        slot = self._free_slot()
        if slot is None or self.stopping:
            return False
        self.slots += 1
        self.spawn(slot)
        return True

    def retire(self, handle: RunnerHandle) -> bool:
        """One runner less: it settles what it holds, and ends when nothing runs in it. False: it leaves anyway."""
        if handle.leaving:
            return False
        handle.leaving = True
        self.slots -= 1
        handle.line.say("stop")
        return True

    def use_lanes(self, lanes: int) -> None:
        """So many of each runner's lanes are used from now on; what runs in the others goes on."""
        self._lanes = lanes
        for handle in self.runners.values():
            handle.lanes = lanes
            handle.line.say("lanes", most=lanes)

    def pause(self, why: str) -> None:
        """No runner reserves anything until `unpause` for the same reason. What runs goes on."""
        self.pauses.add(why)
        for handle in self.runners.values():
            handle.line.say("pause", why=why)

    def unpause(self, why: str) -> None:
        self.pauses.discard(why)
        for handle in self.runners.values():
            handle.line.say("unpause", why=why)

    def _free_slot(self) -> int | None:
        taken = self.runners.keys() | self._respawn.keys() | self._heirs.keys() | self._enlisting
        return next((slot for slot in range(self._board.areas) if slot not in taken), None)

    def predecessor(self, handle: RunnerHandle) -> RunnerHandle | None:
        """Whom this runner waits for."""
        consumer = self._heirs.get(handle.slot) if handle.standby else None
        return next((each for each in self.runners.values() if each.consumer == consumer), None)

    @property
    def busy_starting(self) -> bool:
        """Some runner is on its way."""
        return bool(self._enlisting or self._respawn) or any(
            each.mode is Mode.STARTING for each in self.runners.values()
        )

    def processes(self) -> list[tuple[str, int]]:
        """Those that run their code by now: what each is, and its process id."""
        templates = [self.template, *self._former] if self._loaded else self._former
        named = [("the template", each.process.pid) for each in templates if not each.line.closed]
        ready = [each for _, each in sorted(self.runners.items()) if each.mode is Mode.READY]
        return [*named, *((f"runner {each.slot}", each.pid) for each in ready if each.pid)]

    def inherit(self, consumer: str) -> None:
        """That runner starts nothing any more: its successor may."""
        for slot, waits_for in list(self._heirs.items()):
            if waits_for == consumer and (heir := self.runners.get(slot)) is not None:
                if self._board.lanes > 1 and (old := self.predecessor(heir)) is not None:
                    self._sharing[heir.consumer] = old.consumer
                    self._share(heir, old)
                del self._heirs[slot]
                heir.standby = False
                heir.line.say("unpause", why=SUCCESSION)

    def _look_at_heirs(self) -> None:
        """Where a runner of many lanes drains, its successor uses those that are free: no more tasks than slots."""
        by_name = {handle.consumer: handle for handle in self.runners.values()}
        for consumer in list(self._heirs.values()):
            if self._board.lanes > 1 and consumer in by_name and by_name[consumer].over:
                self.inherit(consumer)
        for name, before in list(self._sharing.items()):
            heir, old = by_name.get(name), by_name.get(before)
            if heir is None or old is None:
                del self._sharing[name]
            if heir is not None:
                self._share(heir, old)

    def _share(self, heir: RunnerHandle, old: RunnerHandle | None) -> None:
        lanes = self._lanes or self._board.lanes
        most = max(0, lanes - (0 if old is None else len(self._board.runs(old.slot))))
        if most != heir.lanes:
            heir.lanes = most
            heir.line.say("lanes", most=most)

    def abandon(self) -> None:
        """End the template by force, and with it whatever it started; the loop hears of it by the end of its line."""
        for template in (self.template, *self._former):
            template.process.kill()

    # -- runners -----------------------------------------------------------------------------------------------------

    def spawn(self, slot: int) -> None:
        if self.stopping:
            return
        self._generation += 1
        self._enlisting.add(slot)
        self._tell.fresh(slot)
        self._orders.enlist(slot, f"{self._node}/{slot}.{self._generation}")

    def enlisted(self, slot: int, consumer: str) -> None:
        """Upkeep has the lease: have the runner forked."""
        self._enlisting.discard(slot)
        if self.stopping:
            self.unsettled.add(consumer)
            self._orders.retire(consumer)
            return
        if self.template.line.closed:
            self.template, self._loaded = self._new_template(), False
            self._watch_template(self.template)
        template = self.template
        heir = self._heirs.pop(slot, "")
        standby = any(each.consumer == heir for each in self.runners.values() if not each.line.closed)
        if standby:
            self._heirs[slot] = heir
        pauses = {*self.pauses, SUCCESSION} if standby else self.pauses
        line = template.fork(slot, consumer, pauses)  # one that still loads reads it when it has done so
        handle = RunnerHandle(slot=slot, consumer=consumer, line=line, since=time.monotonic(), standby=standby)
        handle.template = template
        self.runners[slot] = handle
        if self._lanes:
            line.say("lanes", most=self._lanes)
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
            elif word == "acknowledged":
                self._acknowledged(handle, more)
            else:
                self._tell.said(handle, word, more)
        if handle.line.closed:
            self._drop_line(handle)
            self._tell.gone(handle)

    def _acknowledged(self, handle: RunnerHandle, more: dict[str, Any]) -> None:
        """It is about to run a message that the broker forgets before: should it die, nobody else knows of it."""
        if len(handle.early) > 64:
            running = {run.receipt for run in self._board.runs(handle.slot)}
            handle.early = {receipt: known for receipt, known in handle.early.items() if receipt in running}
        receipt = more["receipt"]
        payload = base64.b64decode(more["payload"])
        handle.early[receipt] = Delivery(more["queue"], receipt, payload, was=receipt)

    def _last_words(self, handle: RunnerHandle) -> None:
        for word, more in handle.line.said():
            if word == "acknowledged":
                self._acknowledged(handle, more)

    def _runner_ready(self, handle: RunnerHandle) -> None:
        handle.mode = Mode.READY
        self._false_starts = 0
        if self.stopping:
            handle.line.say("stop")
        self._tell.ready(handle)

    def _drop_line(self, handle: RunnerHandle) -> None:
        self._selector.unregister(handle.line)
        handle.line.close()
        self.inherit(handle.consumer)

    def _runner_ended(self, handle: RunnerHandle, status: int | None, *, definite: bool = True) -> None:
        """`definite`: what it ran is to blame, and not something that ran beside it."""
        if self.runners.get(handle.slot) is not handle:
            return
        del self.runners[handle.slot]
        if not handle.line.closed:
            self._last_words(handle)
            self._drop_line(handle)
        runs = self._board.runs(handle.slot)
        self.unsettled.add(handle.consumer)
        if exit_code(status) in (0, RECYCLED) and not runs:
            self._orders.retire(handle.consumer)
        else:
            how = describe_exit(status)
            on_purpose = self.cold or self._ended_with_us(status)
            if not on_purpose and not handle.fates:
                logger.error("Process 'ForkPoolWorker-%d' pid:%d exited with '%s'", handle.slot + 1, handle.pid, how)
            elif not on_purpose and (beside := sum(run.receipt not in handle.fates for run in runs)):
                text = "Process 'ForkPoolWorker-%d' pid:%d was ended (%s): %d that ran beside it run again"
                logger.warning(text, handle.slot + 1, handle.pid, handle.killed_for or how, beside)
            blamed = {} if on_purpose or handle.fates else self._blamed(handle, handle.killed_for or how, definite)
            self._orders.bury(handle.consumer, {**blamed, **handle.fates}, list(handle.early.values()))
        self._tell.gone(handle)
        self.last_end = time.monotonic()

    def _blamed(self, handle: RunnerHandle, how: str, definite: bool) -> dict[int, Fate]:
        """What ran; or, between bodies, all that had run and was not settled: one of them may have left the process so
        that it could only die. Were nothing blamed, it would run again for ever; suspects run alone, so it is found."""
        runs = self._board.runs(handle.slot)
        if runs:
            return {run.receipt: Lost(how, definite and len(runs) == 1) for run in runs}
        first, last = self._board.unsettled(handle.slot)
        lost = Lost(how, definite and first == last)
        return {receipt: lost for receipt in range(max(first, last - MOST_SUSPECTS), last + 1) if receipt}

    def _ended_with_us(self, status: int | None) -> bool:
        """A service manager sends SIGTERM to every process of the service at once: no task is to blame for that."""
        return self.stopping and status == signal.SIGTERM

    def _replace(self, handle: RunnerHandle, status: int | None) -> None:
        if handle.leaving:
            return
        if exit_code(status) == RECYCLED:
            self.spawn(handle.slot)
        elif exit_code(status) == UNAVAILABLE:
            # An outage is no reason to end the runners that still run.
            self._respawn[handle.slot] = time.monotonic() + ANOTHER_TRY
        elif handle.mode is not Mode.STARTING:
            if time.monotonic() - handle.since > 1.0:
                self.spawn(handle.slot)
            else:  # a message that kills at once must not make a storm of forks
                self._respawn[handle.slot] = time.monotonic() + 0.2
        else:
            self._tell.died_early(handle)
            self._falsely_started([handle.slot])

    def _falsely_started(self, slots: Iterable[int]) -> None:
        self._false_starts += 1
        if self._false_starts >= FALSE_STARTS and not self.stopping:
            logger.critical("%d runners in a row died before they were ready: giving up", self._false_starts)
            self._tell.hopeless()
        else:
            self._respawn |= dict.fromkeys(slots, time.monotonic() + min(5.0, 0.2 * 2**self._false_starts))

    # -- templates ---------------------------------------------------------------------------------------------------

    def adopt(self, template: Template) -> Template:
        """Runners that start from here on are forked from this one, which has said hello. Returns the one before."""
        before, self.template, self._loaded = self.template, template, True
        if template in self._former:
            self._former.remove(template)
        else:
            self._watch_template(template)
        if not before.line.closed:
            self._former.append(before)
        return before

    def _watch_template(self, template: Template) -> None:
        self._selector.register(template.line, selectors.EVENT_READ, lambda: self._template_said(template))

    def _template_said(self, template: Template) -> None:
        for word, more in template.line.said():
            if word == "forked":
                self._forked(more)
            elif word == "exited":
                self._exited(more)
            elif word == "hello":
                self._loaded = True
            elif word == "failed":
                logger.error("the app cannot be loaded any more:\n%s", more["error"])
        if template.line.closed:
            self._template_lost(template)

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

    def _template_lost(self, template: Template) -> None:
        """Its runners die with it. The first of their successors brings a new one."""
        logger.error("the template process is gone: starting anew")
        self._selector.unregister(template.line)
        template.close()
        if template in self._former:
            self._former.remove(template)
        handles = [each for each in self.runners.values() if each.template is template]
        # A task may have killed it. Which one, nobody knows, unless only one ran.
        definite = sum(len(self._board.runs(handle.slot)) for handle in handles) == 1
        for handle in handles:
            handle.kill("its template died")
            self._runner_ended(handle, None, definite=definite)
        if any(handle.mode is not Mode.STARTING for handle in handles):
            for handle in handles:
                if not handle.leaving:
                    self.spawn(handle.slot)
        else:  # one false start, however many runners it was to have
            self._falsely_started(handle.slot for handle in handles)
