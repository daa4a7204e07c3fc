"""The runner: reserves for itself, runs tasks in its main thread, settles what they come to.

One call settles what is finished and reserves what comes next, and while a batch of tiny tasks runs the next call is
already in flight. Nothing here decides what becomes of a message (`admission`, `tracer`) nor how many to take
(`read_ahead`); nothing here touches a message's content.
"""

from __future__ import annotations

import logging
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ...brokers.base import Settlement, Shelf, Turn, Waiter
from ...errors import CeleriacError, FencedError, OperationalError
from ...execution.admission import Admission, Admitted
from ...execution.limits import Limits
from ...execution.revocations import Revocations
from ...execution.tracer import Tracer
from ..exits import RECYCLED
from ..lines import Line, on_line
from ..settler import Settler
from ..supervisor.board import PENDING, Desk
from ..supervisor.deadlines import as_said
from .commanded import Commanded
from .flusher import Flusher
from .lifespan import Lifespan
from .read_ahead import ReadAhead
from .sift import back, sift
from .striking import MainThread

logger = logging.getLogger("celeriac.worker.runner")

#: Exit status of a process that must not go on.
EX_SOFTWARE = 70
#: Seconds an idle runner waits before it looks at the queues though nobody rang.
SAFETY = 10.0
#: Seconds between attempts while the broker is away.
PAUSE = (0.1, 0.2, 0.5, 1.0)


class Ruined(Exception):
    """A task has closed descriptors of this process that are not its own: nothing may be written to any of them."""


class Runner(Commanded):
    """`serve` until told to stop, fenced, or cut off from the supervisor."""

    def __init__(
        self,
        *,
        settler: Settler,
        flusher: Flusher,
        admission: Admission,
        tracer: Tracer,
        desk: Desk,
        line: Line,
        read_ahead: ReadAhead,
        max_bytes: int,
        listen: Callable[[], Waiter] | None = None,
        revocations: Revocations,
        lifespan: Lifespan | None = None,
        mourn: Callable[..., None] | None = None,
        alone: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(line, admission)
        self._settler = settler
        self._flusher = flusher
        self._tracer = tracer
        self._desk = desk
        self._read_ahead = read_ahead
        self._max_bytes = max_bytes
        #: Opens a wait of our own, for the only runner of a node: it saves a hop. None: the node's doorbell wakes us.
        self._listen = listen
        self._waiter: Waiter | None = None
        #: None: it lives as long as its node.
        self._lifespan = lifespan
        self._clock = clock
        self._revocations = revocations
        #: Of the newest revocation when we reserved last; 0: there is none.
        self._revision = 0
        #: Calls the hooks of a run that ended with another process.
        self._mourn = mourn
        self._solo = alone
        self._arm = MainThread(desk, self._overran, alone=alone, clock=clock)
        self._held: deque[Admitted] = deque()
        self._outcomes = flusher.outcomes
        self._in_flight = False
        self._asked = 0
        #: The last answer filled what was asked: more is likely there, so the next call goes out before the batch runs.
        self._plenty = False
        #: Suspects wait for a consumer that holds nothing: no call ahead until one was asked with empty hands.
        self._drain = False
        #: Nothing was held when the last call was sent.
        self._alone = True
        #: Sent and not yet answered: taken back if the broker refuses them (it keeps them itself if it is cut off).
        self._sent: list[Settlement] = []
        #: The receipt that is acknowledged before its run, and whether the broker said that it is not ours.
        self._acknowledging = 0
        self._denied = False
        #: The broker refused outcomes as a whole: which of them is at fault must be found out.
        self._refused = False
        self._failures = 0

    def serve(self) -> int:
        """Returns the exit code, with nothing left in our hands: 0, or RECYCLED when its life was over."""
        self._line.say("ready")
        self._obey(0.0)  # it may be too early for us to begin
        try:
            while not self._stopping:
                try:
                    self._turn()
                    self._obey(0.0)
                except FencedError:
                    raise
                except CeleriacError as error:
                    self._broker_away(error)
            self._finish()
        except FencedError as error:
            logger.warning("%s: what this runner held runs elsewhere now", error)
        except Ruined:
            logger.critical("a task has closed descriptors that are not its own: this process ends")
            return EX_SOFTWARE
        return RECYCLED if self._lifespan is not None and self._lifespan.over else 0

    def listen_to_signals(self) -> None:
        """In the main thread, before `serve`."""
        self._arm.install()

    def drain(self) -> None:
        """Turn until the queues give nothing more, instead of `serve`: for tests and measurements in one process."""
        self._woken = True
        while self._held or self._in_flight or self._outcomes or self._woken or self._plenty or self._drain:
            self._turn()

    # -- one turn ----------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        if self._refused:
            self._sift()
        elif self._held:
            if self._may_ask_ahead():
                self._send(self._read_ahead.limit(len(self._held)))
            self._run_held()
        elif self._in_flight:
            self._take(self._receive())
        elif self._quiet or self._paused:
            self._be_quiet()
        elif self._outcomes or self._woken or self._plenty or self._drain:
            self._woken = self._drain = False
            self._send(self._read_ahead.limit())
        else:
            self._idle()

    def _idle(self) -> None:
        """Until there may be something, or a word on the line."""
        if self._listen is None:
            self._line.say("idle")
            self._obey(SAFETY)
        else:
            if self._waiter is None:
                self._waiter = self._listen()
            try:
                if not self._waiter.arm():
                    self._waiter.wait(SAFETY, self._line.fileno())
            except CeleriacError:
                self._waiter.close()
                self._waiter = None
                raise
        self._woken = True

    def _may_ask_ahead(self) -> bool:
        """More is there, what is held is done in no time, and nothing forbids holding more."""
        if self._in_flight or self._drain or self._quiet or self._paused or not self._plenty:
            return False
        return self._read_ahead.is_brief(len(self._held))

    def _send(self, limit: int, shelf: Shelf = Shelf.READY) -> None:
        if limit and self._lifespan is not None:
            limit = self._lifespan.allow(limit, len(self._held))
            self._lifespan.begin(self._read_ahead.mean)
        if not self._line.intact():
            raise Ruined
        self._sent = self._flusher.take()
        self._asked, self._alone = limit, not self._held
        self._settler.send(self._sent, limit, self._max_bytes, shelf)
        self._in_flight = True

    def _receive(self) -> Turn:
        self._in_flight = False
        turn = self._settler.receive()
        self._sent = []
        self._failures = 0
        self._desk.turn()
        if not self._outcomes:
            self._desk.unsettled(0, 0)
        if turn.refused:
            logger.warning("%d settlements were refused: those messages are no longer ours", len(turn.refused))
            self._denied = self._denied or self._acknowledging in turn.refused
        return turn

    def _take(self, turn: Turn) -> None:
        """Admit what came; what is not to run is an outcome at once."""
        if self._asked:
            self._plenty = len(turn.deliveries) >= self._asked
            # Asked with empty hands there is nothing to drain: another runner was faster.
            self._drain = turn.suspects and not self._alone
        now = turn.now
        self._revision = turn.revision
        for delivery in turn.deliveries:
            admitted = self._admission.admit(delivery, now)
            if isinstance(admitted, Settlement):
                self._outcomes.append(admitted)
                self._read_ahead.passed()
            else:
                self._held.append(admitted)

    # -- running -----------------------------------------------------------------------------------------------------

    def _run_held(self) -> None:
        """Run all that is held, in order; the clock is read once a task."""
        held, is_long, learn = self._held, self._read_ahead.is_long, self._read_ahead.learn
        now = self._clock()
        ran = last = 0
        self._flusher.watch()
        try:
            while held:
                work = held[0]
                if self._revision and self._refuse(work):
                    continue
                if work.early or is_long(work.task.name):
                    self._flush()
                    now = self._clock()
                if not self._may_start(work.delivery.receipt, now) or (work.early and not self._acknowledge(work)):
                    held.popleft()
                    continue
                held.popleft()
                last = work.delivery.receipt
                settlement = self._tracer.trace(work) if work.limits is None else self._trace_limited(work, work.limits)
                if settlement is not None:
                    self._outcomes.append(settlement)
                ended = self._clock()
                learn(work.task.name, ended - now)
                now = ended
                ran += 1
        finally:
            self._flusher.rest()
            if last:  # first: whoever looks between the two finds one of them
                self._desk.unsettled(self._first_unsettled(last), last)
            self._desk.start(0, now)
            if ran:
                self._have_run(ran, work)

    def _first_unsettled(self, last: int) -> int:
        """The lowest receipt of what has run and may not be settled, `last` being the highest."""
        oldest = [*self._sent[:1], *self._outcomes[:1]]
        return min([last, *(each.delivery.receipt for each in oldest if each.delivery is not None)])

    def _have_run(self, tasks: int, last: Admitted) -> None:
        mean = self._read_ahead.mean
        self._desk.ran(tasks, mean)
        if self._lifespan is not None:
            self._lifespan.ran(tasks, last.task.name, mean)
            self._stopping = self._stopping or self._lifespan.over

    def _refuse(self, work: Admitted) -> bool:
        """Whether it is not to run, because it was revoked."""
        settlement = self._revocations.refuse(work, self._revision)
        if settlement is not None:
            self._held.popleft()
            self._outcomes.append(settlement)
        return settlement is not None

    def _trace_limited(self, work: Admitted, limits: Limits) -> Settlement | None:
        """Armed, and with its deadlines on the board: not a moment longer than the run, lest what is to be told to the
        broker after it counts as its time."""
        desk, receipt, now = self._desk, work.delivery.receipt, self._clock()
        soft = now + limits.soft if limits.soft else 0.0
        hard = now + limits.hard if limits.hard and self._kept(work, limits.hard) else 0.0
        desk.start(receipt, now, soft, hard)
        self._arm.expect(work, soft)
        try:
            return self._tracer.trace(work, self._arm)
        finally:
            desk.start(receipt, self._clock())

    def _kept(self, work: Admitted, hard: float) -> bool:
        """Those of tasks and settings do not come here where nobody keeps them: only a message can bring one."""
        if self._solo:
            logger.warning(
                "Task %s[%s]: its message asks for a hard time limit of %ss, which -P solo cannot keep",
                work.task.name, work.request.id, hard,
            )  # fmt: skip
        return not self._solo

    def _overran(self, limit: float, work: Admitted) -> None:
        """In a signal's handler, with the body on the stack: nobody else writes on the line now."""
        self._line.say("overran", limit=as_said(limit), task=work.request.shadow or work.task.name, id=work.request.id)

    def _flush(self) -> None:
        """Before a body that may take long: what is finished goes out."""
        if self._in_flight and self._outcomes:
            self._take(self._receive())
        if self._outcomes:
            self._send(0)

    def _acknowledge(self, work: Admitted) -> bool:
        """Before the run, for good: the message is nowhere else afterwards. Returns whether it was ours.

        Only once it may start, and says so: a give-back under way would find it gone, and the board would say that it
        went back. And handed over once, however late the answer: a second one would be refused as if it were not ours.
        """
        if self._in_flight:
            self._take(self._receive())
        receipt = work.delivery.receipt
        if self._acknowledging != receipt:
            self._acknowledging, self._denied = receipt, False
            payload = on_line(work.delivery.payload)
            self._line.say("acknowledged", receipt=receipt, queue=work.delivery.queue, payload=payload)
            self._outcomes.append(Settlement(work.delivery))
        self._send(0)
        self._take(self._receive())
        work.acknowledge()
        return not self._denied

    def _may_start(self, receipt: int, now: float) -> bool:
        """Whether the delivery is still ours and our lease good; waits while the answer is being found out.

        We say that it runs, then look whether it was withdrawn; the supervisor withdraws, then looks what runs: one of
        us sees the other, and nothing is given back that starts here.
        """
        desk = self._desk
        desk.start(receipt, now)
        until, low, high = desk.leave()
        while high == PENDING or (now > until and not low < receipt <= high):
            desk.start(0, now)
            if self._line.closed:
                return False  # nobody is left who could say
            if self._stopping and high != PENDING:
                return False
            select.select([self._line], [], [], 0.002 if high == PENDING else 0.05)
            self._obey(0.0)
            now = self._clock()
            desk.start(receipt, now)
            until, low, high = desk.leave()
        return not low < receipt <= high

    # -- what the supervisor says ------------------------------------------------------------------------------------

    def _obey(self, wait: float) -> None:
        """Read our line; wait up to `wait` seconds for a word."""
        if wait:
            select.select([self._line], [], [], wait)
        self._hear()

    def _heard(self, word: str, more: dict[str, Any]) -> None:
        if word == "mourn" and self._mourn is not None:
            self._mourn(**more)

    def _be_quiet(self) -> None:
        """Nothing held, nothing in flight: say so once all is settled, and wait to be told to go on."""
        if self._outcomes or self._failures:  # what was sent last may not have arrived
            self._send(0)
            self._take(self._receive())
            return
        told = False
        while (self._quiet or self._paused) and not self._stopping:
            if self._quiet and not told:
                self._line.say("quieted")
            told = self._quiet
            self._desk.turn()  # a sign of life
            self._obey(SAFETY)

    def _run_quarantined(self) -> None:
        if self._failures:  # the broker is away: what this raised would end us, and take what is finished with it
            self._line.say("quarantined", ran=0)
            return
        ran = 0
        try:
            self._send(1, Shelf.QUARANTINE)
            turn = self._receive()
            self._asked, ran = 0, len(turn.deliveries)
            self._take(turn)
            self._run_held()
            if self._outcomes:
                self._send(0)
                self._take(self._receive())
        finally:
            self._line.say("quarantined", ran=ran)

    # -- trouble, and the end ----------------------------------------------------------------------------------------

    def _broker_away(self, error: CeleriacError) -> None:
        """Wait a little, then go on: the next call connects anew and learns what became of the last one."""
        if not self._line.intact():
            raise Ruined
        if not self._failures:
            logger.error("broker or backend cannot be used, trying again: %s", error)
        self._desk.turn()  # looking for them is a turn as well: killed for it, we would take what is finished with us
        self._in_flight = False
        if not isinstance(error, OperationalError):
            self._outcomes[:0] = self._sent  # refused as a whole: still ours to settle
            self._refused = True
        self._sent = []
        self._woken = True
        pause = PAUSE[min(self._failures, len(PAUSE) - 1)]
        self._failures += 1
        self._obey(pause)

    def _sift(self) -> None:
        outcomes = self._flusher.take()
        try:
            sift(outcomes, self._settle)
            self._refused = False
        finally:
            self._outcomes[:0] = outcomes

    def _settle(self, settlements: list[Settlement]) -> None:
        """Wait for the answer; reserve nothing."""
        self._asked, self._alone = 0, not self._held
        self._settler.send(settlements, 0)
        self._take(self._receive())

    def _finish(self) -> None:
        """Give back what has not started, settle what has ended; after some attempts recovery does it."""
        if not self._line.intact():
            raise Ruined
        for _ in PAUSE:
            try:
                if self._in_flight:
                    self._take(self._receive())
                self._hand_back()
                if self._refused:
                    self._sift()
                if self._outcomes or self._failures:  # the answer to the last call was lost: this one brings it
                    self._send(0)
                    self._receive()
                return
            except FencedError:
                raise
            except CeleriacError as error:
                self._broker_away(error)
        logger.error("the broker stays away: what was finished here and not yet settled will run again")

    def _hand_back(self) -> None:
        _, low, high = self._desk.leave()
        for work in self._held:
            if not low < work.delivery.receipt <= high:
                self._outcomes.append(back(work.delivery))
        self._held.clear()
