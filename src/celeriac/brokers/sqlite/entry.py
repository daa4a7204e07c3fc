"""How a message gets into a queue, whoever sends it: a publisher, a settlement's follow-up, a promotion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...drivers.sqlite import Step
from ...foundation.identifiers import uuid4_text
from ...wire import envelope
from ..base import Outgoing, Shelf
from .sql import SQL

#: Celery on Redis: 0 is taken first, 9 last, and none given means 0.
LOWEST = 9


class Parcel(NamedTuple):
    """A message made ready before the transaction: encoding must not keep other writers waiting."""

    queue: str
    priority: int
    due: float | None
    payload: bytes


class Waiting(NamedTuple):
    """A row of the table `waiting`."""

    queue: int
    shelf: int
    priority: int
    place: int
    message: int
    strikes: int


def pack(messages: Sequence[Outgoing]) -> list[Parcel]:
    return [
        Parcel(
            message.queue,
            min(max(message.priority or 0, 0), LOWEST),
            message.due,
            envelope.encode(message.message, message.queue, uuid4_text()),
        )
        for message in messages
    ]


def number_of(step: Step, queue: str) -> int:
    """The number of a queue. A step that writes makes a new one; to one that reads an unknown queue is 0, and empty."""
    number = step.known.get(queue) or step.learnt.get(queue)
    if number is None:
        row = step.execute(SQL.queue, (queue,)).fetchone()
        if row is None and step.writes:
            row = step.execute(SQL.make_queue, (queue,)).fetchone()
        if row is None:
            return 0
        number = step.learnt[queue] = row[0]
    return number


def numbers_of(step: Step, queues: Iterable[str]) -> dict[str, int]:
    return {queue: number_of(step, queue) for queue in queues}


def topic(queue: str) -> str:
    """What a waiter for the queue listens to."""
    return f"queue:{queue}"


def enqueue(step: Step, parcels: Sequence[Parcel]) -> None:
    """Store the parcels in order; a message's number is its place."""
    payloads, waiting, delayed = [], [], []
    for number, (name, priority, due, payload) in zip(step.numbers(len(parcels)), parcels, strict=True):
        payloads.append((number, payload))
        if due is None:
            waiting.append((number_of(step, name), Shelf.READY.value, priority, number, number, 0))
            step.topics.add(topic(name))
        else:
            delayed.append((number_of(step, name), due, number, priority, 0))
    step.many(SQL.write_message, payloads)
    if waiting:
        step.many(SQL.wait, waiting)
    if delayed:
        step.many(SQL.delay, delayed)
