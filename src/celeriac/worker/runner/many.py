"""The runner of many lanes: reserves for itself, hands over to its lanes, settles what they come to as it comes.

Its own thread never runs a body, so it is always there to settle, to hear its supervisor, and to give back. It reserves
as many as lanes are free, and a little more where tasks are tiny. What is handed over runs, and is on the board; what
is held is not. Like `runner`, it decides nothing about a message and does not look into one.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ...brokers.base import Settlement, Shelf, Turn, Waiter
from ...errors import CeleriacError, FencedError, OperationalError
from ...execution.admission import Admission, Admitted
from ...execution.revocations import Revocations
from ..exits import RECYCLED
from ..lines import Line, on_line
from ..settler import Settler
from .commanded import Commanded
from .drought import Drought
from .ends import Ends
from .lanes.base import Lanes
from .lifespan import Lifespan
from .read_ahead import ReadAhead
from .roster import Roster
from .runner import PAUSE, SAFETY
from .sift import back, sift
from .wards import Wards

logger = logging.getLogger("celeriac.worker.runner")

#: Messages reserved in one call, at most.
_MOST = 1000
#: Seconds after which what is held, and cannot begin though lanes are free, goes back; and until more is asked for.
_TOO_LONG = 0.5
#: Seconds until the next look at queues where nothing but a suspect waits, which we cannot have.
_ANOTHER_LOOK = 0.1
#: Seconds until it is asked again who is revoked, where the broker did not say.
_UNCHECKED = 0.2
#: Seconds until the next look while the supervisor finds out what is still ours.
_UNSURE = 0.005


class ManyRunner(Commanded):
    """`serve` until told to stop, fenced, or cut off from the supervisor. `ends` is what lanes were told to tell."""

    def __init__(
        self,
        *,
        settler: Settler,
        lanes: Lanes,
        ends: Ends,
        admission: Admission,
        roster: Roster,
        wards: Wards,
        revocations: Revocations,
        line: Line,
        read_ahead: ReadAhead,
        max_bytes: int,
        listen: Callable[[], Waiter] | None = None,
        lifespan: Lifespan | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(line, admission)
        self._settler = settler
        self._lanes = lanes
        self._ends = ends
        self._roster = roster
        self._wards = wards
        self._revocations = revocations
        #: Of the newest revocation when we reserved last; 0: there is none. And whether the held are still to be asked.
        self._revision = 0
        self._unchecked = False
        self._read_ahead = read_ahead
        self._max_bytes = max_bytes
        #: Opens a wait of our own, for the only runner of a node. None: the node's doorbell wakes us.
        self._listen = listen
        self._waiter: Waiter | None = None
        self._lifespan = lifespan
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._selector.register(line, selectors.EVENT_READ)
        self._selector.register(ends, selectors.EVENT_READ)
        self._held: deque[Admitted] = deque()
        self._held_since = 0.0
        self._outcomes: list[Settlement] = []
        #: Sent and not yet answered: taken back if the broker refuses them (it keeps them itself if it is cut off).
        self._sent: list[Settlement] = []
        #: Begun, and acknowledged before they run: receipt -> where. What was sent to that end, and lost its answer.
        self._acknowledging: dict[int, tuple[int, Admitted]] = {}
        self._adrift: list[Settlement] = []
        #: A message that runs with nothing beside it is in our hands.
        self._alone = False
        self._drought = Drought()
        #: The broker refused outcomes as a whole: which of them is at fault must be found out.
        self._refused = False
        #: It is not known what of that which is held is still ours.
        self._unsure = False
        self._asked = 0
        #: The doorbell was told that we wait.
        self._idle = False
        self._not_before = 0.0
        #: The supervisor was told that we are quiet.
        self._quieted = False
        self._failures = 0

    def serve(self) -> int:
        """Returns the exit code, with nothing left in our hands: 0, or RECYCLED when its life was over."""
        self._line.say("ready")
        try:
            self._try(self._obey)  # it may be too early for us to begin
            while not self._stopping:
                self._try(self._turn)
                self._try(self._obey)
            self._finish()
        except FencedError as error:
            logger.warning("%s: what this runner held runs elsewhere now", error)
            self._see_out()
        return RECYCLED if self._lifespan is not None and self._lifespan.over else 0

    # -- one turn ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Whatever can be done now; then wait for something to do."""
        self._quieted = self._quieted and self._quiet
        self._advance()
        self._alone = self._alone and self._in_hand  # it may have been revoked, or given back
        limit = self._wanted()
        if self._refused:
            self._sift()
        elif self._outcomes or self._adrift or (limit and self._woken):
            self._exchange(limit)
        elif self._quiet and not self._in_hand and not self._quieted:
            self._line.say("quieted")
            self._quieted = True
        else:
            self._wait(limit)

    def _advance(self) -> None:
        """What has ended is collected, what is due is struck, what is held begins."""
        self._collect()
        self._wards.tick(self._clock())
        if self._unchecked and not self._refuse_revoked():
            return
        while self._held and self._hand_over():
            pass

    def _refuse_revoked(self) -> bool:
        """Of what is held. Returns whether it is known what is revoked: else nothing may begin."""
        try:
            kept = []
            for work in self._held:
                settlement = self._revocations.refuse(work, self._revision)
                if settlement is None:
                    kept.append(work)
                else:
                    self._outcomes.append(settlement)
            self._held = deque(kept)
            self._unchecked = False
        except CeleriacError as error:
            logger.warning("it cannot be read which tasks are revoked: %s", error)
        return not self._unchecked

    @property
    def _in_hand(self) -> bool:
        return bool(self._held or self._roster.running)

    def _wanted(self) -> int:
        """How many messages to reserve in the next call."""
        now = self._clock()
        if self._quiet or self._paused or self._stopping or self._alone or now < self._not_before:
            return 0
        if self._in_hand and self._drought.left(now):
            return 0
        held = len(self._held)
        if held and (self._roster.free or sum(len(work.delivery.payload) for work in self._held) > self._max_bytes):
            return 0  # those cannot begin, so the next ones could not either; or they are large
        room = self._roster.free + self._read_ahead.beyond(len(self._roster.running)) - held
        in_hand = held + len(self._roster.running)
        if self._lifespan is not None:
            room = self._lifespan.allow(room, in_hand)
        room = self._read_ahead.allow(room, in_hand)
        return max(0, min(room, _MOST))

    # -- with the broker ---------------------------------------------------------------------------------------------

    def _exchange(self, limit: int, shelf: Shelf = Shelf.READY) -> Turn:
        """Settle what is finished and reserve what comes next; lanes go on meanwhile."""
        self._woken = False
        self._sent, self._outcomes = self._outcomes, []
        self._asked = limit
        if limit and self._lifespan is not None:
            self._lifespan.begin(self._read_ahead.mean)
        beside = self._in_hand
        self._settler.send(self._sent, limit, self._max_bytes, shelf)
        turn = self._settler.receive()
        sent, self._sent = self._adrift + self._sent, []
        self._adrift, self._failures = [], 0
        self._roster.turn()
        if not self._outcomes:
            self._roster.settled()
        if turn.refused:
            logger.warning("%d settlements were refused: those messages are no longer ours", len(turn.refused))
        self._acknowledged(sent, turn.refused)
        self._take(turn, beside)
        return turn

    def _take(self, turn: Turn, beside: bool) -> None:
        """Admit what came; what is not to run is an outcome at once."""
        if self._asked:
            self._woken = len(turn.deliveries) >= self._asked
            # Asked with empty hands there is nothing to drain: another runner was faster.
            waits = turn.suspects and beside
            self._drought.seen(waits, self._clock())
            if waits and not turn.deliveries:  # whoever waits for messages finds that one at once, again and again
                self._not_before = self._clock() + _ANOTHER_LOOK
        self._revision = turn.revision
        self._unchecked = self._unchecked or bool(turn.revision and (turn.deliveries or self._held))
        if turn.deliveries and not self._held:
            self._held_since = self._clock()
        for delivery in turn.deliveries:
            admitted = self._admission.admit(delivery, turn.now)
            if isinstance(admitted, Settlement):
                self._outcomes.append(admitted)
                self._read_ahead.passed()
            else:
                self._alone = self._alone or delivery.shelf is not Shelf.READY
                self._held.append(admitted)

    def _acknowledged(self, sent: list[Settlement], refused: tuple[int, ...]) -> None:
        """What was acknowledged before its run runs now; what was refused is not ours."""
        if not self._acknowledging:
            return
        batch = []
        for settlement in sent:
            receipt = 0 if settlement.delivery is None else settlement.delivery.receipt
            place = self._acknowledging.pop(receipt, None)
            if place is None:
                continue
            if receipt in refused:
                self._roster.end(place[0], self._clock())
            else:
                place[1].acknowledge()
                batch.append(place)
        now = self._clock()
        self._roster.acknowledged(batch, now)
        self._wards.begin(batch, now)
        self._lanes.submit(batch)

    # -- with the lanes ----------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        """What has ended: its lane is free, its settlement goes out with the next call."""
        ended = self._ends.take()
        if not ended:
            return
        now = self._clock()
        for lane, work, settlement, seconds in ended:
            self._roster.end(lane, now)
            self._read_ahead.learn(work.task.name, seconds)
            if settlement is not None:
                self._outcomes.append(settlement)
        self._alone = self._alone and self._in_hand
        self._woken = True
        self._roster.ran(len(ended), self._read_ahead.mean)
        if self._lifespan is not None:
            self._lifespan.ran(len(ended), ended[-1].work.task.name, self._read_ahead.mean)
            self._stopping = self._stopping or self._lifespan.over

    def _hand_over(self) -> bool:
        """As many of the held as there are lanes for. Returns whether there may be more to hand over."""
        works = self._next()
        if not works:
            self._give_back_stuck()
            return False
        now = self._clock()
        begun = self._roster.begin(works, now)
        self._unsure = bool(begun.later)
        self._held.extendleft(reversed(begun.later))
        if begun.news and self._held:
            self._held = deque(work for work in self._held if not self._roster.went_back(work))
        batch = []
        for place in begun.places:
            work = place[1]
            if work.early:
                delivery = work.delivery
                self._acknowledging[delivery.receipt] = place
                payload = on_line(delivery.payload)
                self._line.say("acknowledged", receipt=delivery.receipt, queue=delivery.queue, payload=payload)
                self._outcomes.append(Settlement(work.delivery))
            else:
                batch.append(place)
        self._wards.begin(batch, now)
        self._lanes.submit(batch)
        self._held_since = self._clock()
        return not self._unsure

    def _next(self) -> list[Admitted]:
        """Taken from the held, in order, but for those that no lane of their kind is free for."""
        held, works = self._held, list[Admitted]()
        if self._alone and self._roster.running:
            return works
        most = 1 if self._alone else self._roster.free
        passed: list[Admitted] = []
        while held and len(works) < most:
            work = held.popleft()
            (works if self._lanes.room(work, len(works)) else passed).append(work)
        held.extendleft(reversed(passed))
        return works

    def _give_back_stuck(self) -> None:
        """Lanes are free, but not of the kind that the held need: elsewhere there may be."""
        now = self._clock()
        if self._roster.free and not self._alone and now - self._held_since > _TOO_LONG:
            self._hand_back()
            self._not_before = now + _TOO_LONG

    # -- waiting -----------------------------------------------------------------------------------------------------

    def _wait(self, limit: int) -> None:
        """Until something ends, a word comes, or (where there is room) something may be there."""
        seconds = self._patience()
        if not limit or self._unsure:
            self._rest(seconds)
        elif self._listen is None:
            if not self._idle:
                self._line.say("idle")
                self._idle = True
            if not self._rest(seconds):
                self._idle, self._woken = False, True
        else:
            self._listen_for(seconds)
        if not self._unsure:  # should that answer never come, it is a reason to be replaced
            self._roster.turn()

    def _patience(self) -> float:
        """Seconds until something is to be done that nobody wakes us for."""
        now = self._clock()
        if self._unsure:
            return _UNSURE
        waits = [_UNCHECKED if self._unchecked else SAFETY, self._wards.patience(now)]
        if self._held and self._roster.free:
            waits.append(max(0.0, self._held_since + _TOO_LONG - now) + 0.01)
        if now < self._not_before:
            waits.append(self._not_before - now + 0.01)
        if left := self._drought.left(now):
            waits.append(left + 0.01)
        return min(waits)

    def _rest(self, seconds: float) -> bool:
        """Sleep so long at most. Returns whether there was a reason to wake."""
        with self._ends.awaited() as none_yet:
            return not none_yet or bool(self._selector.select(seconds))

    def _listen_for(self, seconds: float) -> None:
        assert self._listen is not None
        if self._waiter is None:
            self._waiter = self._listen()
        try:
            if self._waiter.arm():
                self._woken = True
                return
            with self._ends.awaited() as none_yet:
                if none_yet:
                    began = self._clock()
                    heard = self._waiter.wait(seconds, self._selector_fd())
                    self._woken = heard or self._clock() - began >= SAFETY
        except CeleriacError:
            self._waiter.close()
            self._waiter = None
            raise

    def _selector_fd(self) -> int:
        return int(self._selector.fileno())  # epoll's and kqueue's can be waited for themselves

    # -- what the supervisor says ------------------------------------------------------------------------------------

    def _obey(self) -> None:
        if self._line.readable():  # eventlet's sockets wait, whatever they are told
            self._hear()

    def _heard(self, word: str, more: dict[str, Any]) -> None:
        if word == "wake":
            self._idle, self._woken = False, True
        elif word == "lanes":
            self._roster.most = more["most"]
            self._woken = True
        else:
            self._wards.obey(word, more)

    def _run_quarantined(self) -> None:
        ran = 0
        try:
            ran = len(self._exchange(1, Shelf.QUARANTINE).deliveries)
            while self._in_hand or self._outcomes:
                self._advance()
                if self._outcomes:
                    self._exchange(0)
                elif self._in_hand:
                    self._rest(self._patience())
                    self._obey()
        finally:
            self._line.say("quarantined", ran=ran)

    # -- trouble, and the end ----------------------------------------------------------------------------------------

    def _try(self, step: Callable[[], object]) -> bool:
        try:
            step()
            return True
        except FencedError:
            raise
        except CeleriacError as error:
            self._broker_away(error)
            return False

    def _broker_away(self, error: CeleriacError) -> None:
        """Wait a little, then go on: the next call connects anew and learns what became of the last one."""
        if not self._failures:
            logger.error("broker or backend cannot be used, trying again: %s", error)
        self._roster.turn()
        if isinstance(error, OperationalError):
            self._adrift += self._sent
        else:
            self._outcomes[:0] = self._sent  # refused as a whole: still ours to settle
            self._refused = True
        self._sent = []
        self._woken = True
        until = self._clock() + PAUSE[min(self._failures, len(PAUSE) - 1)]
        self._failures += 1
        while (left := until - self._clock()) > 0 and not self._line.closed:
            self._rest(left)
            self._advance()
            if self._line.readable():
                break

    def _sift(self) -> None:
        outcomes, self._outcomes = self._outcomes, []
        try:
            sift(outcomes, self._settle)
            self._refused = False
        finally:
            self._outcomes[:0] = outcomes

    def _settle(self, settlements: list[Settlement]) -> None:
        """Wait for the answer; reserve nothing."""
        later, self._outcomes = self._outcomes, settlements
        try:
            self._exchange(0)
        finally:
            self._outcomes += later

    def _finish(self) -> None:
        """Give back what has not started, settle what ends; after some attempts recovery does it."""
        attempts = 0
        while attempts < len(PAUSE):
            self._collect()
            self._wards.tick(self._clock())
            self._hand_back()
            unsaid = self._outcomes or self._adrift
            if not self._roster.running and not unsaid:
                return
            self._try(self._obey)  # what is not read would wake us at once, again and again
            if not unsaid:
                self._rest(self._patience())
            elif not self._try(self._sift if self._refused else lambda: self._exchange(0)) and not self._roster.running:
                attempts += 1
        logger.error("the broker stays away: what was finished here and not yet settled will run again")

    def _see_out(self) -> None:
        """Nothing of what runs is ours any more. It ends in peace: cut off in the middle it might leave more behind."""
        for lane, _ in self._acknowledging.values():
            self._roster.end(lane, self._clock())
        while self._roster.running:
            self._rest(self._patience())
            with contextlib.suppress(CeleriacError):
                self._obey()
            self._collect()
            self._wards.tick(self._clock())

    def _hand_back(self) -> None:
        for work in self._held:
            if not self._roster.withdrawn(work):
                self._outcomes.append(back(work.delivery))
        self._held.clear()
        self._alone = self._alone and self._in_hand
