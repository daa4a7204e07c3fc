"""What the contract suites run over, and the few words in which they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from celeriac.backends.base import Backend, Watch
from celeriac.backends.registry import open_backend
from celeriac.brokers.base import Broker, Consumer, Delivery, Outgoing, Settlement, Turn, Verdict
from celeriac.brokers.registry import open_broker
from celeriac.wire import envelope
from celeriac.wire.message import Message, Record
from tests.processes import until

QUEUE = "celery"


class Engine:
    """One place that brokers and backends are opened on, each as another process would have its own."""

    def __init__(self, name: str, url: str, elsewhere: str) -> None:
        self.name = name
        self.url = url
        #: A place of the same kind that is not `url`.
        self.elsewhere = elsewhere

    def broker(self, url: str | None = None) -> Broker:
        broker = open_broker(url or self.url)
        broker.open()
        return closing(broker)

    def backend(self, url: str | None = None) -> Backend:
        backend = open_backend(url or self.url)
        backend.open()
        return closing(backend)

    def joined(self) -> tuple[Broker, Backend]:
        broker, backend = self.broker(), self.backend()
        assert broker.join(backend.identity, backend.location)
        return broker, backend


def message(text: str, **properties: Any) -> Message:
    return Message({"task": "tasks.echo", "id": text}, text.encode(), {"correlation_id": text, **properties})


def outgoing(text: str, queue: str = QUEUE, priority: int | None = None, due: float | None = None) -> Outgoing:
    properties = {} if priority is None else {"priority": priority}
    return Outgoing(queue, message(text, **properties), priority, due)


def publish(broker: Broker, *texts: str, queue: str = QUEUE, priority: int | None = None) -> None:
    broker.publish([outgoing(text, queue, priority) for text in texts])


def text_of(payload: bytes) -> str:
    return envelope.decode(payload).body.decode()


def texts(deliveries: Iterable[Delivery]) -> list[str]:
    return [text_of(delivery.payload) for delivery in deliveries]


def gather(watch: Watch, count: int) -> dict[str, bytes]:
    """What the watch tells until `count` results are there."""
    arrived: dict[str, bytes] = {}

    def complete() -> bool:
        arrived.update(watch.wait(5))
        return len(arrived) >= count

    until(complete, what=f"{count} results arrive")
    return arrived


class Closes(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closes)

#: What tests opened; the fixture `engine` closes it.
opened: list[Closes] = []


def closing(thing: T) -> T:
    """To be closed when the test is over."""
    opened.append(thing)
    return thing


def join_queue(broker: Broker, name: str, queues: Sequence[str] = (QUEUE,)) -> Consumer:
    """A consumer with a lease."""
    broker.enlist(name, queues)
    return closing(broker.consumer(name, queues))


def turn(consumer: Consumer, settlements: Sequence[Settlement] = (), limit: int = 0, **options: Any) -> Turn:
    consumer.send(settlements, limit, **options)
    return consumer.receive()


def take(consumer: Consumer, limit: int = 10, **options: Any) -> list[Delivery]:
    return turn(consumer, (), limit, **options).deliveries


def settle(consumer: Consumer, *settlements: Settlement) -> Turn:
    return turn(consumer, settlements)


def requeue(delivery: Delivery, **fields: Any) -> Settlement:
    return Settlement(delivery, Verdict.REQUEUE, **fields)


def document(state: str, result: str = "") -> bytes:
    """As Celery writes it: engines that share their results with stock peers read the state in it."""
    facts: dict[str, Any] = {"status": state, "result": result, "traceback": None, "children": [], "date_done": None}
    return json.dumps(facts).encode()


def record(task_id: str, document: bytes, **fields: Any) -> Record:
    return Record(task_id, document, **fields)
