"""A process to be killed: publishes, reserves and settles as fast as it can, and says what it was told is done.

python sqlite_victim.py URL NAME
"""

from __future__ import annotations

import os
import sys

from celeriac.backends.registry import open_backend
from celeriac.brokers.base import Delivery, Outgoing, Settlement, Verdict
from celeriac.brokers.registry import open_broker
from celeriac.wire import envelope
from celeriac.wire.message import Message, Record

QUEUE = "celery"


def say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())


def settlement_of(number: int, delivery: Delivery, text: str) -> Settlement:
    if number % 7 == 0:
        return Settlement(delivery, Verdict.PUT_OFF, due=1.0)
    if number % 5 == 0:
        return Settlement(delivery, Verdict.REQUEUE)
    return Settlement(delivery, record=Record(text, b"done"))


def main(url: str, name: str) -> None:
    broker, backend = open_broker(url), open_backend(url)
    assert broker.join(backend.identity, backend.location)
    broker.enlist(name, [QUEUE])
    consumer = broker.consumer(name, [QUEUE])
    number, settlements = 0, list[Settlement]()
    while True:
        texts = [f"{name}-{number}-{n}" for n in range(4)]
        broker.publish([Outgoing(QUEUE, Message({}, text.encode(), {})) for text in texts])
        say("published", *texts)
        consumer.send(settlements, 5)
        turn = consumer.receive()
        assert turn.refused == ()
        texts = [envelope.decode(delivery.payload).body.decode() for delivery in turn.deliveries]
        settlements = [settlement_of(number + n, d, texts[n]) for n, d in enumerate(turn.deliveries)]
        broker.promote([QUEUE])
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
