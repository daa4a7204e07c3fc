"""Broker and backend on two servers, or on one that is gone: what outages of either must not do to a node."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.faults.nodes import kill, runners
from tests.faults.world import World
from tests.processes import until
from tests.servers import RedisServer


def test_runners_that_cannot_start_for_want_of_the_backend_do_not_end_the_node(
    new_world: Callable[..., World], new_redis: Callable[..., RedisServer]
) -> None:
    broker, backend = new_redis(appendfsync=None), new_redis(appendfsync="always")
    world = new_world(broker.url(), backend.url())
    node = world.node(slots=1)
    node.start()
    backend.stop()
    kill(runners(node))
    # More often than a node bears with runners that die of anything else.
    node.expect("the runner cannot start", times=6, within=30)
    backend.start()
    ids = world.send([0.0, 0.0])
    until(lambda: world.settled(ids) == set(ids), within=10, what="all ran once the backend was back")
    assert node.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_a_node_ends_though_its_broker_is_gone(
    new_world: Callable[..., World], new_redis: Callable[..., RedisServer], how: signal.Signals
) -> None:
    server = new_redis(appendfsync=None)
    node = new_world(server.url(), server.url()).node(slots=2)
    node.start()
    server.kill()
    node.expect("the broker is away")
    assert node.stop(within=25, how=how) == 0
