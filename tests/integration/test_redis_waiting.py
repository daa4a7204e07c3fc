"""Waiting for messages and for results: woken by push, holding nothing, and not for ever by a line that is dead."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic

import pytest

from celeriac.backends.redis import RedisWatch
from celeriac.brokers.base import Settlement, Shelf, Verdict
from celeriac.brokers.redis.layout import Layout
from celeriac.brokers.redis.waiter import RedisWaiter
from celeriac.drivers.redis import Pool
from celeriac.drivers.redis_address import parse
from celeriac.errors import OperationalError
from celeriac.wire.message import Record
from tests.integration.redis_tools import SUCCESS, backend_of, broker_of, done, outgoing, turn
from tests.processes import until
from tests.proxy import Proxy
from tests.servers import RedisServer

QUEUES = [f"q{n}" for n in range(20)]


@pytest.fixture(autouse=True)
def _empty(redis_server: RedisServer) -> None:
    redis_server.ask("FLUSHALL")


def after(seconds: float, action: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [None, 3, 9])
def test_any_queue_and_priority_wakes(redis_server: RedisServer, priority: int | None) -> None:
    broker = broker_of(redis_server.url())
    waiter = broker.waiter(QUEUES)
    for queue in (QUEUES[0], QUEUES[-1]):
        assert waiter.arm() == 0
        assert not waiter.wait(0.01)
        after(0.05, partial(broker.publish, [outgoing("a", queue, priority)]))
        began = monotonic()
        assert waiter.wait(10)
        assert monotonic() - began < 5
        assert waiter.arm() == 1
        broker.purge([queue])
    waiter.close()


def test_what_came_between_looking_and_waiting_wakes(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url())
    waiter = broker.waiter(["celery"])
    assert waiter.arm() == 0
    broker.publish([outgoing("a"), outgoing("b")])
    assert waiter.wait(10)
    assert waiter.arm() == 2
    waiter.close()


def test_suspects_quarantine_and_due_messages_wake(redis_server: RedisServer) -> None:
    broker = broker_of(redis_server.url())
    broker.enlist("me", ["celery"])
    consumer = broker.consumer("me", ["celery"])
    broker.publish([outgoing("a")])
    waiter = broker.waiter(["celery"])
    for shelf in (Shelf.SUSPECT, Shelf.QUARANTINE):
        (delivery,) = turn(consumer, limit=1, shelf=Shelf.READY).deliveries
        assert waiter.arm() == 0
        turn(consumer, [Settlement(delivery, Verdict.REQUEUE, shelf=shelf, strikes=1)])
        assert waiter.wait(10)
        assert waiter.arm() == (1 if shelf is Shelf.SUSPECT else 0)
    (delivery,) = turn(consumer, limit=1, shelf=Shelf.QUARANTINE).deliveries
    turn(consumer, [Settlement(delivery, Verdict.REQUEUE)])
    (delivery,) = turn(consumer, limit=1).deliveries
    turn(consumer, [Settlement(delivery, Verdict.PUT_OFF, due=1.0)])
    assert waiter.arm() == 0
    broker.promote(["celery"])
    assert waiter.wait(10)
    waiter.close()


def test_an_interruption_ends_the_wait(redis_server: RedisServer) -> None:
    waiter = broker_of(redis_server.url()).waiter(["celery"])
    waiter.arm()
    after(0.05, waiter.interrupt)
    began = monotonic()
    assert not waiter.wait(30)
    assert monotonic() - began < 10
    waiter.close()
    waiter.close()
    waiter.interrupt()


def test_a_lost_connection_ends_the_wait_and_is_rebuilt(redis_server: RedisServer) -> None:
    waiter = broker_of(redis_server.url()).waiter(["celery"])
    waiter.arm()
    after(0.05, lambda: redis_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))
    assert waiter.wait(30), "nobody knows what came meanwhile"
    broker_of(redis_server.url()).publish([outgoing("a")])
    assert waiter.arm() == 1
    waiter.close()


def test_a_half_open_line_is_noticed(redis_server: RedisServer, new_proxy: Callable[[RedisServer], Proxy]) -> None:
    proxy = new_proxy(redis_server)
    pool = Pool(parse(f"redis://127.0.0.1:{proxy.port}"), 0.3)
    waiter = RedisWaiter(["celery"], pool=pool, layout=Layout({}), timeout=0.3, probe=0.1)
    waiter.arm()
    assert not waiter.wait(0.5), "an idle line that answers is fine"
    proxy.black_hole()
    began = monotonic()
    assert waiter.wait(30)
    assert monotonic() - began < 10
    with pytest.raises(OperationalError):
        waiter.arm()
    proxy.heal()
    assert waiter.arm() == 0
    waiter.close()


def test_without_the_right_to_track_it_looks_again_and_says_so(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.ask("ACL", "SETUSER", "poor", "on", ">p", "~*", "&*", "+@all", "-client|tracking")
    broker = broker_of(redis_server.url().replace("//", "//poor:p@"))
    with caplog.at_level(logging.WARNING):
        waiter = broker.waiter(["celery"])
    assert "CLIENT TRACKING" in caplog.text
    assert waiter.arm() == 0
    assert not waiter.wait(0.01)
    after(0.05, lambda: broker.publish([outgoing("a")]))
    assert waiter.wait(10)
    after(0.05, waiter.interrupt)
    broker.purge(["celery"])
    assert not waiter.wait(10)
    waiter.close()


# -- results -----------------------------------------------------------------------------------------------------------


def gather(watch: RedisWatch, count: int) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def complete() -> bool:
        found.update(watch.wait(5))
        return len(found) >= count

    until(complete, what=f"{count} results arrive")
    return found


def test_results_before_and_after_and_through_the_turn(redis_server: RedisServer) -> None:
    broker, backend = broker_of(redis_server.url(0)), backend_of(redis_server.url(1))
    broker.join(backend.identity, backend.location)
    backend.put_many([Record("before", SUCCESS)])
    watch = backend.watch()
    watch.add(["before", "after", "turn", "never"])
    assert gather(watch, 1) == {"before": SUCCESS}
    backend.put_many([Record("after", b'{"status": "STARTED"}', final=False)])
    assert gather(watch, 1) == {"after": b'{"status": "STARTED"}'}
    broker.enlist("me", ["celery"])
    broker.publish([outgoing("turn")])
    consumer = broker.consumer("me", ["celery"])
    (delivery,) = turn(consumer, limit=1).deliveries
    turn(consumer, [done(delivery)])
    assert gather(watch, 1) == {"turn": SUCCESS}
    watch.remove(["after"])
    backend.put_many([Record("after", SUCCESS)])
    assert watch.wait(0.1) == {}
    watch.close()
    watch.close()


def test_ids_are_added_by_any_thread_while_one_waits(redis_server: RedisServer) -> None:
    backend = backend_of(redis_server.url(1))
    watch = backend.watch()
    names = [f"{thread}-{n}" for thread in range(4) for n in range(500)]

    def add_and_store(thread: int) -> None:
        for n in range(500):
            name = f"{thread}-{n}"
            watch.add([name])
            backend.put_many([Record(name, SUCCESS)])

    threads = [threading.Thread(target=add_and_store, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    found = gather(watch, len(names))
    for thread in threads:
        thread.join()
    assert set(found) == set(names)
    watch.close()


def test_results_that_came_while_the_line_was_cut_are_read(
    redis_server: RedisServer, new_proxy: Callable[[RedisServer], Proxy]
) -> None:
    proxy, direct = new_proxy(redis_server), backend_of(redis_server.url(0))
    watch = backend_of(f"redis://127.0.0.1:{proxy.port}/0").watch()
    names = [str(n) for n in range(2500)]
    watch.add(names)
    assert watch.wait(0.05) == {}
    proxy.cut()
    direct.put_many([Record(name, SUCCESS) for name in names])
    assert set(gather(watch, len(names))) == set(names)
    proxy.cut()
    watch.add(["late"])
    direct.put_many([Record("late", SUCCESS)])
    until(lambda: "late" in watch.wait(5), what="the late result arrives")
    watch.close()


def test_a_server_that_stays_away_is_told(new_redis: Callable[..., RedisServer]) -> None:
    server = new_redis()
    watch = backend_of(server.url(), timeout=0.5).watch()
    watch.add(["a"])
    assert watch.wait(0.01) == {}
    server.stop()
    began = monotonic()
    with pytest.raises(OperationalError, match="result_backend"):
        watch.wait(30)
    assert 0.4 < monotonic() - began < 10
    server.start()
    backend_of(server.url()).put_many([Record("a", SUCCESS)])
    assert gather(watch, 1) == {"a": SUCCESS}
    watch.close()


def test_a_half_open_line_of_results_is_noticed(
    redis_server: RedisServer, new_proxy: Callable[[RedisServer], Proxy]
) -> None:
    proxy = new_proxy(redis_server)
    pool = Pool(parse(f"redis://127.0.0.1:{proxy.port}"), 0.3)
    watch = RedisWatch(pool, "celery-task-meta-", 0.3, probe=0.1)
    watch.add(["a"])
    assert watch.wait(0.5) == {}
    proxy.black_hole()
    with pytest.raises(OperationalError):
        watch.wait(30)
    proxy.heal()
    backend_of(redis_server.url()).put_many([Record("a", SUCCESS)])
    assert gather(watch, 1) == {"a": SUCCESS}
    watch.close()


def test_a_wait_for_results_can_be_interrupted(redis_server: RedisServer) -> None:
    watch = backend_of(redis_server.url()).watch()
    watch.add(["a"])
    after(0.05, watch.interrupt)
    began = monotonic()
    assert watch.wait(30) == {}
    assert monotonic() - began < 10
    watch.close()
    watch.interrupt()


def test_a_prefix_for_results_is_celerys(redis_server: RedisServer) -> None:
    for given, key in [("app", "app_celery-task-meta-a"), ("app:", "app:celery-task-meta-a")]:
        backend = backend_of(redis_server.url(), global_keyprefix=given)
        backend.put_many([Record("a", SUCCESS, expires=60)])
        assert redis_server.ask("GET", key) == SUCCESS
        assert 0 < redis_server.ask("TTL", key) <= 60
        assert backend.get_many(["a", "b"]) == {"a": SUCCESS}
        backend.forget(["a", "b"])
        assert backend.get_many(["a"]) == {}
        assert backend.get_many([]) == {}
