"""Upkeep: the supervisor's thread that talks to the broker. It renews leases, promotes what is due, takes back what the
dead held, and gives back what waits behind long tasks.

It runs no task code and holds no message longer than it takes to settle it. Orders come through a queue from the
supervisor's loop, which never waits on a network itself; what fails for want of the broker is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from ...brokers.base import Broker, Delivery, Settlement
from ...brokers.revocation import Revocation
from ...errors import CeleriacError, FencedError, OperationalError
from ..settler import Settler
from . import verdicts
from .board import ALL, Board
from .fates import Fate
from .reaper import Reaper
from .wanted import Found, Wanted

logger = logging.getLogger("celeriac.worker.upkeep")

#: The longest pause between two looks at what is due, seconds: how late a message put off elsewhere may be promoted.
DUE_LOOK = 0.4
#: Pause after the broker was away, seconds.
PAUSE = 0.5
#: Seconds between looks at the quarantine shelf.
QUARANTINE_LOOK = 2.0
#: Seconds between counts of what waits, where anybody wants to know.
BACKLOG_LOOK = 5.0
#: No run ended with its process: all goes back.
NOBODY: Mapping[int, Fate] = MappingProxyType({})


def _nobody(*news: object) -> None:
    """Not told."""


class Held(Struct, frozen=True):
    """A consumer whose lease is renewed here, and its slot on the board (None: the supervisor's own)."""

    consumer: str
    slot: int | None


class Events(Struct, frozen=True):
    """Whom upkeep tells; called from its thread, they must only pass the news on."""

    enlisted: Callable[[int, str], None]
    fenced: Callable[[int], None]
    quarantined: Callable[[int], None]
    settled: Callable[[str], None]
    online: Callable[[bool], None]
    #: The message of a run that ended with its process, for good: its hooks are still to be called.
    ended: Callable[[bytes, Fate], None] = _nobody
    #: Runs that are to end, and the orders of the last seconds.
    wanted: Callable[[list[Found], list[Revocation]], None] = _nobody
    #: Rate limits that were changed: (task, limit).
    rates: Callable[[list[tuple[str, str]]], None] = _nobody


class Upkeep(threading.Thread):
    """See the module. `lease` in seconds; `settler_for` gives a settler of an enlisted consumer."""

    def __init__(
        self,
        *,
        node: str,
        broker: Broker,
        settler_for: Callable[[str], Settler],
        queues: Sequence[str],
        board: Board,
        lease: float,
        judge: verdicts.Judge,
        events: Events,
    ) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._broker = broker
        self._settler_for = settler_for
        self._queues = list(queues)
        self._board = board
        self._lease = lease
        self._judge = judge
        self._events = events
        self._node = node
        self._own = ""
        #: Names given up, with the verdicts that had been reached under them, by receipt.
        self._former: list[tuple[str, dict[int, Settlement]]] = []
        self._incarnation = 0
        self._settler: Settler | None = None
        self._held: dict[str, Held] = {}
        #: Lost their lease to another node, and may still run.
        self._fenced: set[str] = set()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._undone: list[Callable[[], None]] = []
        self._pending: list[Settlement] = []
        self._reaper = Reaper(node, lease)
        self._next_renewal = 0.0
        self._next_reaping = time.monotonic() + lease / 3
        self._next_promotion = 0.0
        self._next_quarantine = 0.0
        self._wanted = Wanted(broker, self._queues, board)
        self._next_wanted = 0.0
        self._next_count: float | None = None
        #: Messages that wait in the queues, as last counted; None: not counted.
        self.backlog: int | None = None
        self._count_every = BACKLOG_LOOK
        self._online = True
        #: What the last attempt was refused with; empty if it was not.
        self._refused = ""

    # -- orders, from any thread -------------------------------------------------------------------------------------

    def enlist(self, slot: int, consumer: str) -> None:
        """Get a lease for a new runner, then tell `events.enlisted`."""
        self._orders.put(lambda: self._enlist(slot, consumer))

    def bury(self, consumer: str, fates: Mapping[int, Fate] = NOBODY, early: list[Delivery] | None = None) -> None:
        """A runner of ours is dead and waited for: take back what it held, and judge what ended with it by `fates`
        (by receipt; what is not named goes back unharmed). `early` is what it had acknowledged before its run."""
        self._orders.put(lambda: self._bury(consumer, fates, early or []))

    def give_back(self, slot: int, consumer: str, low: int) -> None:
        """Return what the runner holds above receipt `low`; the board said PENDING before, and says what went after."""
        self._orders.put(lambda: self._give_back(slot, consumer, low))

    def retire(self, consumer: str) -> None:
        """A runner ended by itself with all settled: end its lease, then tell `events.settled`."""
        self._orders.put(lambda: self._retire(consumer))

    def count_backlog(self, every: float = BACKLOG_LOOK) -> None:
        """Keep `backlog` up to date, to that many seconds; call it before the start."""
        self._next_count = 0.0
        self._count_every = min(every, self._count_every)

    def stop(self) -> None:
        """Do what is ordered, end the own lease, end. Join the thread with a deadline."""
        self._orders.put(None)

    # -- the thread --------------------------------------------------------------------------------------------------

    def run(self) -> None:
        stopping = False
        while not stopping:
            order: Callable[[], None] | None = _nothing
            with contextlib.suppress(queue.Empty):
                order = self._orders.get(timeout=self._pause())
            while order is not None:
                if order is not _nothing:
                    self._undone.append(order)
                try:
                    order = self._orders.get_nowait()
                except queue.Empty:
                    break
            stopping = order is None
            self._attempt()
        self._farewell()

    def _attempt(self) -> None:
        """Carry out orders and whatever is due; without the broker keep what could not be done."""
        try:
            self._carry_out_orders()
            self._settle_pending()
            self._look_around()
        except FencedError:
            logger.warning("this node was declared dead by another: taking a new lease")
            self._disown()
        except OperationalError as error:
            self._offline(error)
        except Exception as error:  # whatever it is: without this thread the node loses its leases and stands still
            text = f"{type(error).__name__}: {error}"
            if text != self._refused:  # not a traceback twice a second
                logger.exception("upkeep fails, trying again every %.1fs", PAUSE)
            self._refused = text
            self._next_renewal = min(self._next_renewal, time.monotonic() + PAUSE)
        else:
            self._refused = ""
            if not self._online:
                self._online = True
                self._events.online(True)

    def _carry_out_orders(self) -> None:
        """One after the other, leases first: many orders to a slow server must not cost one."""
        self._renew_if_due()
        while self._undone:
            try:
                self._undone[0]()
            except CeleriacError:
                raise  # to be repeated
            except Exception:  # a mistake of ours, which no repetition mends: the others have their turn
                self._undone.pop(0)
                raise
            self._undone.pop(0)
            self._renew_if_due()

    def _look_around(self) -> None:
        """What is refused for one reason keeps nothing else from being done."""
        refused: CeleriacError | None = None
        looks = (
            self._promote_if_due,
            self._look_for_wanted_if_due,
            self._reap_if_due,
            self._look_at_quarantine_if_due,
            self._count_if_due,
        )
        for look in looks:
            try:
                look()
            except (FencedError, OperationalError):
                raise
            except CeleriacError as error:
                refused = error
        if refused is not None:
            raise refused

    def _offline(self, error: OperationalError) -> None:
        if self._online:
            self._online = False
            logger.error("the broker is away, trying again every %.1fs: %s", PAUSE, error)
            self._events.online(False)
        self._reaper.forget()  # what was seen before the outage proves nothing
        self._disown()  # an answer may be lost: what moved to us and we do not know of is found again under a new name
        self._next_renewal = time.monotonic() + PAUSE

    def _pause(self) -> float:
        if not self._online or self._refused or self._undone or self._pending:
            return PAUSE
        looks = min(self._next_promotion, self._next_quarantine, self._next_wanted)
        soonest = min(self._next_renewal, self._next_reaping, looks)
        return max(0.0, soonest - time.monotonic())

    def _farewell(self) -> None:
        try:
            for order in self._undone:
                order()
            self._settle_pending()
            former = [name for name, _ in self._former]
            for consumer in [*self._held, *former, *([self._own] if self._settler is not None else [])]:
                self._broker.dismiss(consumer, self._queues)
        except CeleriacError as error:
            logger.warning("leaving without telling the broker (what was in flight comes back by itself): %s", error)
        if self._settler is not None:
            self._settler.close()
        self._broker.close()

    # -- leases ------------------------------------------------------------------------------------------------------

    def _disown(self) -> None:
        """Stop using the own name; what it holds is handled under the next one."""
        if self._settler is not None:
            self._settler.close()
            self._settler = None
            self._former.append((self._own, {each.delivery.receipt: each for each in self._pending if each.delivery}))
        # What has no delivery is found nowhere again.
        self._pending = [each for each in self._pending if each.delivery is None]

    def _ensure_own(self) -> Settler:
        if self._settler is None:
            self._incarnation += 1
            self._own = f"{self._node}/s{self._incarnation}"
            self._broker.enlist(self._own, self._queues)
            self._settler = self._settler_for(self._own)
        while self._former:
            name, judged = self._former[0]
            moved = self._broker.recover(name, self._queues, self._own)
            self._pending.extend(verdicts.resumed(moved, judged))
            self._former.pop(0)
        return self._settler

    def _enlist(self, slot: int, consumer: str) -> None:
        asked = time.monotonic()
        self._broker.enlist(consumer, self._queues)
        self._held[consumer] = Held(consumer, slot)
        # Not before here: orders about the slot's former runner may have stood in the queue until now.
        self._board.reset(slot)
        self._board.allow(slot, asked + self._lease)
        self._events.enlisted(slot, consumer)

    def _renew_if_due(self) -> None:
        asked = time.monotonic()
        if asked < self._next_renewal:
            return
        self._ensure_own()
        refused = set(self._broker.renew([*self._held, self._own], self._queues))
        for held in list(self._held.values()):
            if held.consumer in refused:
                self._fence(held)
            elif held.slot is not None:
                self._board.allow(held.slot, asked + self._lease)
        if self._own in refused:
            raise FencedError("the supervisor's own lease is gone")
        self._next_renewal = asked + self._lease / 3

    def _fence(self, held: Held) -> None:
        """Another node has what it held: nothing of that may start here any more."""
        del self._held[held.consumer]
        if held.slot is not None:
            self._fenced.add(held.consumer)
            self._board.withdraw(held.slot, 0, ALL)
            self._events.fenced(held.slot)

    def _retire(self, consumer: str) -> None:
        self._broker.dismiss(consumer, self._queues)
        self._forget(consumer)
        self._events.settled(consumer)

    def _forget(self, consumer: str) -> None:
        self._held.pop(consumer, None)
        self._fenced.discard(consumer)

    # -- the dead ----------------------------------------------------------------------------------------------------

    def _bury(self, consumer: str, fates: Mapping[int, Fate], early: list[Delivery]) -> None:
        self._ensure_own()
        deliveries = self._broker.recover(consumer, self._queues, self._own)
        self._forget(consumer)
        judged = verdicts.after_runner_death(deliveries, fates, self._judge)
        self._pending.extend(judged)
        self._pending.extend(verdicts.acknowledged_early(early, deliveries, fates, self._judge))
        for delivery, fate in verdicts.final(deliveries, judged, fates, early):
            self._events.ended(delivery.payload, fate)
        early.clear()  # should this be repeated for want of the broker
        self._settle_pending()
        self._events.settled(consumer)

    def _reap_if_due(self) -> None:
        now = time.monotonic()
        if now < self._next_reaping:
            return
        for node, consumers in self._reaper.dead(self._broker.leases(self._queues), now):
            self._recover_node(node, consumers)
        self._next_reaping = now + self._lease / 3

    def _recover_node(self, node: str, consumers: dict[str, int]) -> None:
        self._ensure_own()
        ran: list[Delivery] = []
        passed_on: list[Delivery] = []
        for consumer, counter in consumers.items():
            moved = self._broker.recover(consumer, self._queues, self._own, counter)
            (passed_on if _is_supervisor(consumer) else ran).extend(moved)
        logger.warning("node %s is dead: %d deliveries taken back", node, len(ran) + len(passed_on))
        how = f"node {node} died"
        self._pending.extend(verdicts.after_node_death(ran, how, self._judge))
        self._pending.extend(verdicts.unharmed(passed_on))
        self._settle_pending()

    def _settle_pending(self) -> None:
        while self._pending:
            batch = self._pending[:500]
            self._ensure_own().settle(batch)
            del self._pending[: len(batch)]

    # -- the rest ----------------------------------------------------------------------------------------------------

    def _give_back(self, slot: int, consumer: str, low: int) -> None:
        # Repeated after an outage: until the board says how much went, the runner starts nothing.
        if consumer in self._held:
            self._board.withdraw(slot, low, self._broker.give_back(consumer, self._queues, low))
        elif consumer in self._fenced:
            # Nothing is left to give back, and the runner waits for that answer. (A dead one's slot is another's now.)
            self._board.withdraw(slot, 0, ALL)

    def _promote_if_due(self) -> None:
        now = time.monotonic()
        if now < self._next_promotion:
            return
        moved, next_due = self._broker.promote(self._queues)
        soon = 0.0 if moved >= 1000 else DUE_LOOK
        self._next_promotion = now + (soon if next_due is None else max(0.0, min(soon, next_due)))

    def _count_if_due(self) -> None:
        now = time.monotonic()
        if self._next_count is not None and now >= self._next_count:
            self.backlog = sum(each.ready for each in self._broker.count(self._queues).values())
            self._next_count = now + self._count_every

    def _look_for_wanted_if_due(self) -> None:
        now = time.monotonic()
        if now < self._next_wanted:
            return
        self._next_wanted = now + DUE_LOOK
        slots = {held.consumer: held.slot for held in self._held.values() if held.slot is not None}
        found, orders = self._wanted.look(slots, now)
        if orders:
            self._events.wanted(found, orders)
        if self._wanted.rates:
            self._events.rates(self._wanted.rates[:])
            self._wanted.rates.clear()

    def _look_at_quarantine_if_due(self) -> None:
        now = time.monotonic()
        if now < self._next_quarantine:
            return
        waiting = self._broker.quarantined(self._queues)
        if waiting:
            self._events.quarantined(waiting)
        self._next_quarantine = now + QUARANTINE_LOOK


def _is_supervisor(consumer: str) -> bool:
    return consumer.rpartition("/")[2].startswith("s")


def _nothing() -> None:
    """The order to look at the timers."""
