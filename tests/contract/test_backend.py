"""The result backend port. One suite for every engine."""

from __future__ import annotations

import threading
import time
import uuid

from celeriac.backends.registry import open_backend
from tests.contract.engines import Engine, closing, document, gather, record
from tests.processes import until


def test_what_was_stored_is_found_by_another(engine: Engine) -> None:
    names = [str(uuid.uuid4()), str(uuid.uuid4()).upper(), "any text ä", "x" * 300, "0" * 36]
    engine.backend().put_many([record(name, name.encode()) for name in names])
    found = engine.backend().get_many([*names, "unknown", names[0].upper()])
    assert found == {name: name.encode() for name in names}


def test_nothing_asked_and_nothing_stored(engine: Engine) -> None:
    backend = engine.backend()
    backend.put_many([])
    assert backend.get_many([]) == {}
    backend.forget([])


def test_a_document_of_a_megabyte(engine: Engine) -> None:
    backend = engine.backend()
    document = bytes(range(256)) * 4096
    backend.put_many([record("a", document)])
    assert backend.get_many(["a"]) == {"a": document}


def test_the_last_final_document_stands(engine: Engine) -> None:
    backend = engine.backend()
    backend.put_many([record("a", b"1"), record("a", b"2")])
    backend.put_many([record("a", b"3")])
    assert backend.get_many(["a"]) == {"a": b"3"}


def test_a_state_on_the_way_never_replaces_a_final_one(engine: Engine) -> None:
    backend = engine.backend()
    started, progress, done = document("STARTED"), document("PROGRESS"), document("SUCCESS")
    backend.put_many([record("a", started, final=False)])
    backend.put_many([record("a", progress, final=False)])
    assert backend.get_many(["a"]) == {"a": progress}
    backend.put_many([record("a", done), record("a", progress, final=False), record("b", started, final=False)])
    backend.put_many([record("a", started, final=False)])
    assert backend.get_many(["a", "b"]) == {"a": done, "b": started}


def test_forgotten_is_gone_and_may_come_again(engine: Engine) -> None:
    backend = engine.backend()
    backend.put_many([record("a", b"1"), record("b", b"2")])
    backend.forget(["a", "unknown"])
    assert backend.get_many(["a", "b"]) == {"b": b"2"}
    backend.put_many([record("a", b"started", final=False)])
    assert backend.get_many(["a"]) == {"a": b"started"}


def test_documents_expire(engine: Engine) -> None:
    backend = engine.backend()
    backend.put_many([record("soon", b"1", expires=0.05), record("never", b"2", expires=None), record("day", b"3")])
    until(lambda: "soon" not in backend.get_many(["soon"]), what="the document expires")
    assert backend.get_many(["soon", "never", "day"]) == {"never": b"2", "day": b"3"}
    backend.put_many([record("soon", b"started", final=False)])
    assert backend.get_many(["soon"]) == {"soon": b"started"}


def test_a_watch_tells_what_is_stored_after(engine: Engine) -> None:
    watch = closing(engine.backend().watch())
    watch.add(["a", "b"])
    assert watch.wait(0.01) == {}
    engine.backend().put_many([record("a", b"1"), record("unwatched", b"2")])
    assert gather(watch, 1) == {"a": b"1"}


def test_a_watch_tells_what_was_stored_before(engine: Engine) -> None:
    backend = engine.backend()
    backend.put_many([record("a", b"1"), record("b", b"2")])
    watch = closing(backend.watch())
    watch.add(["a", "c"])
    assert gather(watch, 1) == {"a": b"1"}
    watch.add(["b"])
    assert gather(watch, 1) == {"b": b"2"}


def test_a_watch_tells_states_on_the_way_and_then_the_end(engine: Engine) -> None:
    backend = engine.backend()
    watch = closing(backend.watch())
    watch.add(["a"])
    backend.put_many([record("a", b"started", final=False)])
    assert gather(watch, 1) == {"a": b"started"}
    backend.put_many([record("a", b"done")])
    until(lambda: watch.wait(5).get("a") == b"done", what="the end arrives")


def test_a_removed_id_is_told_no_more(engine: Engine) -> None:
    backend = engine.backend()
    watch = closing(backend.watch())
    watch.add(["a", "b"])
    watch.remove(["a", "unknown"])
    backend.put_many([record("a", b"1"), record("b", b"2")])
    assert gather(watch, 1) == {"b": b"2"}


def test_many_results_at_once_all_arrive(engine: Engine) -> None:
    backend = engine.backend()
    names = [str(uuid.uuid4()) for _ in range(1500)]
    watch = closing(backend.watch())
    watch.add(names[:700])
    for start in range(0, 1500, 100):
        backend.put_many([record(name, name.encode()) for name in names[start : start + 100]])
    watch.add(names[700:])
    assert gather(watch, 1500) == {name: name.encode() for name in names}


def test_a_waiting_thread_is_woken_at_once(engine: Engine) -> None:
    watch = closing(engine.backend().watch())
    watch.add(["a"])
    arrived: list[tuple[dict[str, bytes], float]] = []

    def wait() -> None:
        found: dict[str, bytes] = {}
        while not found:
            found = watch.wait(20)
        arrived.append((found, time.monotonic()))

    thread = threading.Thread(target=wait)
    thread.start()
    stored = time.monotonic()
    engine.backend().put_many([record("a", b"1")])
    thread.join(20)
    ((found, when),) = arrived
    assert found == {"a": b"1"}
    assert when - stored < 0.5


def test_an_id_added_while_another_thread_waits_is_told_to_it(engine: Engine) -> None:
    backend = engine.backend()
    backend.put_many([record("a", b"1")])
    watch = closing(backend.watch())
    arrived: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: arrived.append(gather(watch, 1)))
    thread.start()
    watch.add(["a"])
    thread.join(20)
    assert arrived == [{"a": b"1"}]


def test_interrupt_ends_a_wait_at_once(engine: Engine) -> None:
    watch = closing(engine.backend().watch())
    watch.add(["a"])
    ended: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: ended.append(watch.wait(60)))
    thread.start()
    watch.interrupt()
    thread.join(10)
    assert ended == [{}]


def test_two_watches_are_both_told(engine: Engine) -> None:
    one, two = closing(engine.backend().watch()), closing(engine.backend().watch())
    one.add(["a"])
    two.add(["a"])
    engine.backend().put_many([record("a", b"1")])
    assert gather(one, 1) == gather(two, 1) == {"a": b"1"}


def test_it_connects_at_first_use_and_closes_twice(engine: Engine) -> None:
    backend = open_backend(engine.url)
    backend.close()
    backend.put_many([record("a", b"1")])
    assert backend.get_many(["a"]) == {"a": b"1"}
    backend.close()
    backend.close()


def test_threads_share_a_backend(engine: Engine) -> None:
    backend = engine.backend()

    def store(number: int) -> None:
        for n in range(50):
            backend.put_many([record(f"{number}-{n}", b"x")])

    threads = [threading.Thread(target=store, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(backend.get_many([f"{number}-{n}" for number in range(4) for n in range(50)])) == 200


def test_identity_tells_places_apart(engine: Engine) -> None:
    one, other = engine.backend(), engine.backend(engine.elsewhere)
    assert one.identity == engine.backend().identity
    assert one.identity != other.identity
