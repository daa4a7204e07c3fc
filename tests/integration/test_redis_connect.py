"""Every way in: users, passwords, TLS, socket files, both loopbacks, database numbers; and forks."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from celeriac.brokers.registry import open_broker
from celeriac.drivers.redis import Link, Pool
from celeriac.drivers.redis_address import parse
from celeriac.errors import BackendError, BrokerError, OperationalError
from tests.integration.redis_tools import SUCCESS, backend_of, broker_of, done, id_of, outgoing, turn
from tests.processes import until
from tests.servers import RedisServer

NewRedis = Callable[..., RedisServer]

WAYS = [
    {},
    {"password": "p@ss:/wörd"},
    {"user": "ann", "password": "secret"},
    {"unix": True},
    {"unix": True, "password": "secret"},
    {"tls": True},
    {"tls": True, "user": "ann", "password": "secret"},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way) or "plain")
def test_the_whole_path_by_each_way(new_redis: NewRedis, way: dict[str, object]) -> None:
    server = new_redis(**way)
    secret = server.password
    if secret and "@" in secret:
        server.password = "p%40ss%3A%2Fw%C3%B6rd"
    url, results = server.url(2), server.url(3)
    server.password = secret
    broker, backend = broker_of(url), backend_of(results)
    assert broker.join(backend.identity, backend.location)
    broker.enlist("me", ["celery"])
    waiter = broker.waiter(["celery"])
    assert waiter.arm() == 0
    broker.publish([outgoing("a")])
    assert waiter.wait(5)
    with_watch = backend.watch()
    with_watch.add(["a"])
    consumer = broker.consumer("me", ["celery"])
    (delivery,) = turn(consumer, limit=5).deliveries
    turn(consumer, [done(delivery)])
    until(lambda: with_watch.wait(5) == {"a": SUCCESS}, what="the result arrives")
    waiter.close()
    with_watch.close()


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1"])
def test_localhost_is_found_on_either_loopback(new_redis: NewRedis, bind: str) -> None:
    server = new_redis(bind=(bind,))
    assert Link(parse(f"redis://localhost:{server.port}/0"), 5).call("PING", timeout=5) == b"PONG"
    assert Link(parse(server.url()), 5).call("PING", timeout=5) == b"PONG"


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:{port}", "redis://:wrong@127.0.0.1:{port}", "redis://x:secret@127.0.0.1:{port}"]
)
def test_a_wrong_password_is_no_outage(new_redis: NewRedis, url: str) -> None:
    server = new_redis(password="secret")
    text = url.format(port=server.port)
    with pytest.raises(BrokerError, match="user or password in broker_url"):
        broker_of(text)
    with pytest.raises(BackendError, match="user or password in result_backend") as caught:
        backend_of(text).open()
    assert "wrong" not in str(caught.value).replace("WRONGPASS", "")


def test_a_certificate_that_nobody_vouches_for_is_refused(new_redis: NewRedis) -> None:
    server = new_redis(tls=True)
    bare = f"rediss://127.0.0.1:{server.port}"
    # By name too: nothing listens at ::1, which is tried first and is not what is wrong.
    for url in (bare, bare.replace("127.0.0.1", "localhost")):
        with pytest.raises(OperationalError, match=r"(?i)certificate.*ssl_ca_certs and ssl_cert_reqs of broker_url"):
            Link(parse(url), 5)
    Link(parse(f"{bare}?ssl_cert_reqs=none"), 5).close()
    with pytest.raises(OperationalError):
        Link(parse(f"redis://127.0.0.1:{server.port}"), 1)


def test_a_database_that_is_not_there(new_redis: NewRedis) -> None:
    server = new_redis(databases=2)
    with pytest.raises(BrokerError, match="DB index"):
        broker_of(server.url(2))


def test_a_name_that_does_not_resolve_is_said() -> None:
    with pytest.raises(OperationalError, match=r"no-such-host\.invalid:6379"):
        broker_of("redis://no-such-host.invalid")


def test_a_broker_connects_by_itself_at_first_use(redis_server: RedisServer) -> None:
    broker = open_broker(redis_server.url(4))
    broker.publish([outgoing("a")])
    assert [id_of(payload) for payload in broker.peek("celery")] == ["a"]
    broker.purge(["celery"])
    broker.close()
    broker.close()
    assert broker.count(["celery"])["celery"].ready == 0


def test_an_idle_connection_that_the_server_dropped_is_not_used(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url(4))
    broker.publish([outgoing("a")])
    redis_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    broker.publish([outgoing("b")])
    assert broker.purge(["celery"]) == 2


def test_a_forked_child_has_connections_of_its_own(redis_server: RedisServer) -> None:
    pool = Pool(parse(redis_server.url()), 5)
    (mine,) = pool.run(("CLIENT", "ID"), timeout=5)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            (other,) = pool.run(("CLIENT", "ID"), timeout=5)
            os.write(writing, b"%d" % other)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    other = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    assert other != mine
    assert pool.run(("CLIENT", "ID"), timeout=5) == [mine], "the parent's connection is untouched"


def test_operators_can_tell_our_connections(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url(), client_name="ours")
    assert b"name=ours" in redis_server.ask("CLIENT", "LIST")
    broker.close()
