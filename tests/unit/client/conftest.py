"""An app in memory, and what stands in its queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from celeriac.client import current
from celeriac.client.app import Celery
from celeriac.client.request import Context
from celeriac.wire import envelope, protocol2
from celeriac.wire.message import Message
from celeriac.wire.protocol2 import Embed


@pytest.fixture
def app() -> Iterator[Celery]:
    """An app whose broker and backend are this test's own."""
    url = f"memory://{uuid4()}"
    with Celery("proj", broker=url, backend=url, set_as_current=False) as made:
        yield made


@pytest.fixture
def sent(app: Celery) -> Callable[..., list[Message]]:
    """What waits in a queue, the oldest first."""

    def read(queue: str = "celery") -> list[Message]:
        payloads = app.broker.peek(queue) + [payload for _, payload in app.broker.delayed(queue)]
        return [envelope.decode(payload) for payload in payloads]

    return read


@pytest.fixture
def as_delivered() -> Callable[[Message], Context]:
    """The request that a worker would make of a message."""

    def make(message: Message) -> Context:
        args, kwargs, embed = call_of(message)
        return Context.from_message(message, args, kwargs, embed, hostname="celery@here")

    return make


def call_of(message: Message) -> tuple[list[object], dict[str, object], Embed]:
    """args, kwargs and embed of a message."""
    return protocol2.read_body(message)


@pytest.fixture(autouse=True)
def nothing_shared() -> Iterator[None]:
    """Apps of other tests share their tasks with every app of the process, as in Celery; not with those made here."""
    others = dict(current._finalizers)
    current._finalizers.clear()
    yield
    current._finalizers.clear()
    current._finalizers.update(others)
