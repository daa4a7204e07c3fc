"""A broker that misbehaves as networks do, around one that does not: calls are cut, delayed, doubled, answers are lost.

It keeps the port's promises while it does so: after an `OperationalError` a consumer's next call sends again what was
not settled, and hands out what was reserved in an answer that was lost. What it never does is lose a message.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from ..brokers.base import Broker, Consumer, Counts, DeadLetter, Delivery, Outgoing, Settlement, Shelf, Turn, Waiter
from ..brokers.revocation import Revocation
from ..errors import OperationalError

T = TypeVar("T")


class Fault(Enum):
    """What happens to one call."""

    NONE = "none"
    #: It never reaches the broker.
    CUT = "cut"
    #: It is done, but the caller is told that it failed.
    LOST = "lost"
    #: It is done twice, as by a client that sends again. Never a consumer's turn: no adapter does that.
    DOUBLED = "doubled"
    #: It is done after a while.
    DELAYED = "delayed"


#: The fault of the next call of this name (`publish`, `renew`, …: the port's methods; `turn` is send and receive).
Plan = Callable[[str], Fault]


def CALM(call: str) -> Fault:  # noqa: N802 - reads as the constant that it is
    """No faults at all."""
    return Fault.NONE


class Scripted:
    """Faults in order, by call: `Scripted(publish=[Fault.LOST])` spoils the first publish and nothing else."""

    def __init__(self, **faults: Iterable[Fault]) -> None:
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        for call, planned in faults.items():
            self._faults[call].extend(planned)

    def add(self, call: str, *faults: Fault) -> None:
        """More faults for this call, after those that are planned."""
        self._faults[call].extend(faults)

    def __call__(self, call: str) -> Fault:
        planned = self._faults[call]
        return planned.popleft() if planned else Fault.NONE


class Seeded:
    """Random faults, the same ones for the same seed. `rate` is the share of calls that are spoilt."""

    def __init__(self, seed: int, rate: float, faults: Sequence[Fault] = tuple(Fault)[1:]) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._faults = list(faults)

    def __call__(self, call: str) -> Fault:
        return self._random.choice(self._faults) if self._random.random() < self._rate else Fault.NONE


class _Spoiler:
    """Does calls as the plan says."""

    def __init__(self, plan: Plan, pause: Callable[[], None]) -> None:
        self.plan = plan
        self._pause = pause

    def __call__(self, name: str, call: Callable[[], T]) -> T:
        fault = self.plan(name)
        if fault is Fault.CUT:
            raise OperationalError(f"{name}: the connection was cut (a planned fault)")
        if fault is Fault.DELAYED:
            self._pause()
        answer = call()
        if fault is Fault.DOUBLED:
            answer = call()
        if fault is Fault.LOST:
            raise OperationalError(f"{name}: the answer was lost (a planned fault)")
        return answer


class FaultyConsumer:
    """`brokers.base.Consumer` over another."""

    def __init__(self, consumer: Consumer, plan: Plan, pause: Callable[[], None]) -> None:
        self.name = consumer.name
        self._consumer = consumer
        self._plan = plan
        self._pause = pause
        self._sent: tuple[int, int, Shelf] | None = None
        self._unsettled: list[Settlement] = []
        #: Answers that were lost, to be handed out with the next.
        self._lost: list[Turn] = []

    def send(
        self,
        settlements: Sequence[Settlement],
        limit: int,
        *,
        max_bytes: int = 0,
        shelf: Shelf = Shelf.READY,
    ) -> None:
        self._unsettled += settlements
        self._sent = (limit, max_bytes, shelf)

    def receive(self) -> Turn:
        if self._sent is None:
            raise RuntimeError("receive() without send()")
        (limit, max_bytes, shelf), self._sent = self._sent, None
        fault = self._plan("turn")
        if fault is Fault.CUT:
            raise OperationalError("turn: the connection was cut (a planned fault)")
        if fault is Fault.DELAYED:
            self._pause()
        # What was reserved in a lost answer is handed out first: reserving more could exceed what was asked for.
        self._consumer.send(self._unsettled, 0 if self._lost else limit, max_bytes=max_bytes, shelf=shelf)
        turn = self._consumer.receive()
        self._unsettled.clear()
        if fault is Fault.LOST:
            self._lost.append(turn)
            raise OperationalError("turn: the answer was lost (a planned fault)")
        return self._merged(turn)

    def _merged(self, turn: Turn) -> Turn:
        turns, self._lost = [*self._lost, turn], []
        deliveries = [delivery for each in turns for delivery in each.deliveries]
        refused = tuple(receipt for each in turns for receipt in each.refused)
        return Turn(deliveries, refused, turn.now, turn.suspects, turn.revision)

    def close(self) -> None:
        self._consumer.close()


class FaultyBroker:
    """`brokers.base.Broker` over another. `plan` may be exchanged at any time; `pause` is what a delay does."""

    def __init__(self, broker: Broker, plan: Plan = CALM, pause: Callable[[], None] = lambda: time.sleep(0.01)) -> None:
        self.broker = broker
        self.capabilities = broker.capabilities
        self._pause = pause
        self._do = _Spoiler(plan, pause)

    @property
    def plan(self) -> Plan:
        return self._do.plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self._do.plan = plan

    def _next_fault(self, call: str) -> Fault:
        """By the plan of the moment: consumers live longer than plans."""
        return self._do.plan(call)

    def open(self) -> None:
        self._do("open", self.broker.open)

    def close(self) -> None:
        self.broker.close()

    def join(self, identity: tuple[str, Any], location: Mapping[str, Any]) -> bool:
        return self.broker.join(identity, location)

    def declare(self, queues: Sequence[str]) -> None:
        self._do("declare", lambda: self.broker.declare(queues))

    def publish(self, messages: Sequence[Outgoing], timeout: float | None = None) -> None:
        self._do("publish", lambda: self.broker.publish(messages, timeout))

    def enlist(self, consumer: str, queues: Sequence[str]) -> None:
        self._do("enlist", lambda: self.broker.enlist(consumer, queues))

    def consumer(self, name: str, queues: Sequence[str]) -> FaultyConsumer:
        return FaultyConsumer(self.broker.consumer(name, queues), self._next_fault, self._pause)

    def renew(self, consumers: Sequence[str], queues: Sequence[str]) -> list[str]:
        return self._do("renew", lambda: self.broker.renew(consumers, queues))

    def leases(self, queues: Sequence[str]) -> Mapping[str, int]:
        return self._do("leases", lambda: self.broker.leases(queues))

    def recover(self, consumer: str, queues: Sequence[str], into: str, counter: int | None = None) -> list[Delivery]:
        return self._do("recover", lambda: self.broker.recover(consumer, queues, into, counter))

    def held(self, consumer: str, queues: Sequence[str]) -> list[Delivery]:
        return self._do("held", lambda: self.broker.held(consumer, queues))

    def give_back(self, consumer: str, queues: Sequence[str], after: int) -> int:
        return self._do("give_back", lambda: self.broker.give_back(consumer, queues, after))

    def dismiss(self, consumer: str, queues: Sequence[str]) -> None:
        self._do("dismiss", lambda: self.broker.dismiss(consumer, queues))

    def promote(self, queues: Sequence[str], limit: int = 1000) -> tuple[int, float | None]:
        return self._do("promote", lambda: self.broker.promote(queues, limit))

    def waiter(self, queues: Sequence[str]) -> Waiter:
        return self._do("waiter", lambda: self.broker.waiter(queues))

    def revoke(self, entries: Sequence[Revocation]) -> int:
        return self._do("revoke", lambda: self.broker.revoke(entries))

    def revocations(self, since: int = 0) -> tuple[int, list[Revocation]]:
        return self._do("revocations", lambda: self.broker.revocations(since))

    def quarantined(self, queues: Sequence[str]) -> int:
        return self._do("quarantined", lambda: self.broker.quarantined(queues))

    def count(self, queues: Sequence[str]) -> dict[str, Counts]:
        return self._do("count", lambda: self.broker.count(queues))

    def purge(self, queues: Sequence[str]) -> int:
        return self._do("purge", lambda: self.broker.purge(queues))

    def peek(self, queue: str, limit: int = 100) -> list[bytes]:
        return self._do("peek", lambda: self.broker.peek(queue, limit))

    def delayed(self, queue: str, limit: int = 100) -> list[tuple[float, bytes]]:
        return self._do("delayed", lambda: self.broker.delayed(queue, limit))

    def release(self, queue: str) -> int:
        return self._do("release", lambda: self.broker.release(queue))

    def dead_letters(self, queues: Sequence[str], limit: int = 100, **options: Any) -> list[DeadLetter]:
        return self._do("dead_letters", lambda: self.broker.dead_letters(queues, limit, **options))

    def dead_letter(self, queue: str, letter_id: str) -> DeadLetter | None:
        return self._do("dead_letter", lambda: self.broker.dead_letter(queue, letter_id))

    def requeue_dead(self, queue: str, ids: Sequence[str], **options: Any) -> list[str]:
        return self._do("requeue_dead", lambda: self.broker.requeue_dead(queue, ids, **options))

    def edit_dead(self, letter: DeadLetter, payload: bytes, by: str = "") -> bool:
        return self._do("edit_dead", lambda: self.broker.edit_dead(letter, payload, by))

    def purge_dead(self, queue: str, ids: Sequence[str]) -> int:
        return self._do("purge_dead", lambda: self.broker.purge_dead(queue, ids))

    def import_dead(self, letters: Sequence[DeadLetter], by: str = "") -> list[str]:
        return self._do("import_dead", lambda: self.broker.import_dead(letters, by))
