"""Waiting for a queue of the SQLite file to have something: woken by a datagram, with a slow look for lost ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...drivers.sqlite import Ear, Heard, Step
from .entry import numbers_of, topic
from .sql import SQL

if TYPE_CHECKING:
    from .broker import SQLiteBroker

#: Seconds between looks while nothing is heard.
LOOK = 1.0
#: Messages are counted up to this.
MOST = 100


class SQLiteWaiter:
    """`brokers.base.Waiter`."""

    def __init__(self, broker: SQLiteBroker, queues: Sequence[str]) -> None:
        self._broker = broker
        self._queues = list(queues)
        self._topics = {topic(name) for name in queues}
        self._ear = Ear()
        try:
            self._listen()
        except BaseException:
            self._ear.close()
            raise

    def _listen(self) -> None:
        rows = [(name, self._ear.address) for name in self._topics]
        self._broker.write(lambda step: step.many(SQL.listen, rows))

    def arm(self) -> int:
        self._ear.drain()
        ready, listening = self._broker.read(self._look)
        if not listening:  # swept by a process that could not reach us, one in another container perhaps
            self._listen()
            ready, _ = self._broker.read(self._look)
        return ready

    def _look(self, step: Step) -> tuple[int, bool]:
        ready = 0
        for queue in numbers_of(step, self._queues).values():
            ready += step.execute(SQL.reservable, (queue, MOST)).fetchone()[0]
        listening = {row[0] for row in step.execute(SQL.listening, (self._ear.address,))}
        return ready, listening == self._topics

    def wait(self, timeout: float, also: int | None = None) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            heard = self._ear.wait(min(left, LOOK), also)
            if heard is not Heard.NOTHING:
                return heard is Heard.BELL
            if left <= LOOK:
                return False
            if self._broker.read(self._look)[0]:
                return True

    def interrupt(self) -> None:
        self._ear.interrupt()

    def close(self) -> None:
        self._ear.close()
        self._broker.forget_listener(self._ear.address)
