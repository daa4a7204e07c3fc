"""What the Redis tests share: a broker and a backend of a server, messages, and a proxy that can lose answers only."""

from __future__ import annotations

import socket
import threading
from typing import Any, Self

from celeriac.backends.base import Opened as BackendOpened
from celeriac.backends.redis import RedisBackend
from celeriac.brokers.base import Delivery, Opened, Outgoing, Settlement, Turn
from celeriac.brokers.redis import RedisBroker
from celeriac.brokers.redis.consumer import RedisConsumer
from celeriac.wire import envelope
from celeriac.wire.message import Message, Record

SUCCESS = b'{"status": "SUCCESS", "result": 3}'


def broker_of(url: str, *, timeout: float = 4.0, **options: Any) -> RedisBroker:
    broker = RedisBroker(Opened(url, options, timeout, timeout))
    broker.open()
    return broker


def backend_of(url: str, *, timeout: float = 4.0, **options: Any) -> RedisBackend:
    return RedisBackend(BackendOpened(url, options, timeout))


def message(task_id: str, body: bytes = b"[[], {}, {}]", **headers: Any) -> Message:
    return Message({"task": "t", "id": task_id, **headers}, body, {"correlation_id": task_id})


def outgoing(task_id: object, queue: str = "celery", priority: int | None = None, body: bytes = b"[]") -> Outgoing:
    return Outgoing(queue, message(str(task_id), body), priority)


def id_of(delivery: Delivery | bytes) -> str:
    payload = delivery if isinstance(delivery, bytes) else delivery.payload
    return str(envelope.decode(payload).headers["id"])


def ids(deliveries: list[Delivery]) -> list[str]:
    return [id_of(delivery) for delivery in deliveries]


def done(delivery: Delivery, task_id: str | None = None, **rest: Any) -> Settlement:
    """Success, with a result unless `record=None` is given."""
    rest.setdefault("record", Record(task_id or id_of(delivery), SUCCESS))
    return Settlement(delivery, **rest)


def turn(consumer: RedisConsumer, settlements: list[Settlement] | None = None, limit: int = 0, **rest: Any) -> Turn:
    consumer.send(settlements or [], limit, **rest)
    return consumer.receive()


class LossyProxy:
    """Forwards to a server; on demand it swallows the answers, and breaks the connection once a request has passed."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._losing = False
        #: Set when an answer has been swallowed.
        self.lost = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lose_answers(self) -> None:
        """From now on: what the server answers is dropped and its connection broken. Until `heal`."""
        self.lost.clear()
        self._losing = True

    def heal(self) -> None:
        self._losing = False

    def close(self) -> None:
        for connection in [self._listener, *self._open]:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += (client, server)
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        try:
            while data := source.recv(65536):
                if answers and self._losing:
                    self.lost.set()
                    break
                sink.sendall(data)
        except OSError:
            pass
        for connection in (source, sink):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
