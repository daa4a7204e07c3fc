"""What is SQLite's own: the file, its layout, who else uses it, space, time and forks. The rest: tests/contract."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celeriac.backends.registry import open_backend
from celeriac.backends.sqlite import SQLiteBackend
from celeriac.brokers.base import Counts, Member, Outgoing, Settlement
from celeriac.brokers.registry import open_broker
from celeriac.brokers.revocation import Revocation
from celeriac.brokers.sqlite.broker import SQLiteBroker
from celeriac.drivers import sqlite as drivers
from celeriac.drivers.sqlite import Ear, Heard
from celeriac.drivers.sqlite.bell import Ringer
from celeriac.drivers.sqlite.database import APPLICATION_ID
from celeriac.errors import FencedError, ImproperlyConfigured, LayoutError, OperationalError
from celeriac.wire.message import Message, Record

QUEUE = "celery"

Open = Callable[..., SQLiteBroker]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@pytest.fixture
def opens(path: Path) -> Iterator[Open]:
    """Opens brokers on the file, and closes them."""
    opened: list[SQLiteBroker] = []

    def open_one(query: str = "", **options: Any) -> SQLiteBroker:
        broker = open_broker(f"sqlite:///{path}{query}", **options)
        assert isinstance(broker, SQLiteBroker)
        opened.append(broker)
        broker.open()
        return broker

    yield open_one
    for broker in opened:
        broker.close()


def _publish(broker: SQLiteBroker, count: int = 1, size: int = 10) -> None:
    broker.publish([Outgoing(QUEUE, Message({}, b"x" * size, {}))] * count)


def _ready(broker: SQLiteBroker) -> int:
    return broker.count([QUEUE])[QUEUE].ready


# -- the file and its layout ------------------------------------------------------------------------------------------


def test_it_is_made_with_its_folder(tmp_path: Path) -> None:
    broker = open_broker(f"sqlite:///{tmp_path}/new/folder/queue.db")
    broker.open()
    assert (tmp_path / "new/folder/queue.db").exists()
    broker.close()


def test_a_relative_path_means_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    broker = open_broker("sqlite:///sub/queue.db")
    assert isinstance(broker, SQLiteBroker)
    assert broker.path == str(tmp_path / "sub/queue.db")


def test_no_path_means_the_embedded_queue(isolated: Path) -> None:
    for url in ("sqlite://", "sqlite"):
        broker = open_broker(url)
        assert isinstance(broker, SQLiteBroker)
        assert broker.path == str(isolated / "queue.sqlite3")


def test_synchronous_is_normal_unless_asked(opens: Open, path: Path) -> None:
    assert opens()._database._connection.execute("PRAGMA synchronous").fetchone() == (1,)  # type: ignore[union-attr]


def test_synchronous_full_by_url_or_option(opens: Open) -> None:
    broker = opens("?synchronous=full")
    assert broker._database._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # type: ignore[union-attr]
    broker.close()
    broker = opens(options={"synchronous": "OFF"})
    assert broker._database.synchronous == "OFF" or broker._database.synchronous == "FULL"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://queue.db", "sqlite:///queue.db"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///a.db?synchronous=maybe", "NORMAL, FULL, OFF"),
        ("sqlite:///a.db?journal=wal", "synchronous"),
    ],
)
def test_urls_that_cannot_be_meant(url: str, says: str) -> None:
    for opener in (open_broker, open_backend):
        with pytest.raises(ImproperlyConfigured, match=says):
            opener(url)


def test_another_programs_database_is_left_alone(opens: Open, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(LayoutError, match="another program"):
        opens()
    assert path.read_bytes() == before


def test_a_newer_layout_is_refused(opens: Open, path: Path) -> None:
    opens().close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LayoutError, match="layout 99"):
        opens()


def test_what_is_no_database_is_refused(opens: Open, path: Path) -> None:
    path.write_text("a shopping list, long enough to be no header " * 100)
    with pytest.raises(LayoutError, match="not a SQLite database"):
        opens()


def test_a_path_that_cannot_be(opens: Open, path: Path) -> None:
    path.mkdir()
    with pytest.raises(OperationalError, match="cannot be opened"):
        opens()


def test_a_file_deleted_under_a_process_is_made_anew(opens: Open, path: Path) -> None:
    broker = opens()
    broker.enlist("n/1", [QUEUE])
    consumer = broker.consumer("n/1", [QUEUE])
    _publish(broker)
    for name in path.parent.glob("queue.db*"):
        name.unlink()
    broker._database._next_look = 0.0  # the look comes once a second
    with pytest.raises(FencedError):
        consumer.send([], 1)
        consumer.receive()
    _publish(broker)
    assert path.exists()
    assert _ready(broker) == 1


def test_broker_and_backend_on_one_file_share_it_and_are_joined(tmp_path: Path, opens: Open, path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    broker, backend = opens(), open_backend(f"sqlite:///{link}")
    assert isinstance(backend, SQLiteBackend)
    assert broker.join(backend.identity, backend.location)
    assert broker._database is backend._database
    backend.close()


# -- others at the same file ------------------------------------------------------------------------------------------


def test_a_lock_that_lasts_is_an_operational_error_within_the_deadline(opens: Open, path: Path) -> None:
    broker = opens(publish_timeout=0.05)
    _publish(broker)
    broker.enlist("n/1", [QUEUE])
    consumer = broker.consumer("n/1", [QUEUE])
    consumer.send([], 1)
    (delivery,) = consumer.receive().deliveries
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(OperationalError, match="locked by another process"):
        _publish(broker)
    consumer.send([Settlement(delivery)], 0)
    with pytest.raises(OperationalError, match="locked by another process"):
        consumer.receive()
    assert time.monotonic() - started < 5
    other.execute("ROLLBACK")
    other.close()
    consumer.send([], 0)
    assert consumer.receive().refused == ()
    assert broker.count([QUEUE])[QUEUE] == Counts()


def test_two_processes_drain_one_file(opens: Open, path: Path) -> None:
    broker = opens()
    _publish(broker, 3000)
    script = (
        "import sys\n"
        "from celeriac.brokers.base import Settlement\n"
        "from celeriac.brokers.registry import open_broker\n"
        "broker = open_broker(sys.argv[1]); broker.enlist(sys.argv[2], ['celery'])\n"
        "consumer = broker.consumer(sys.argv[2], ['celery']); done, count = [], 0\n"
        "while True:\n"
        "    consumer.send([Settlement(d) for d in done], 7); turn = consumer.receive(); done = turn.deliveries\n"
        "    assert not turn.refused\n"
        "    count += len(done)\n"
        "    if not done: break\n"
        "print(count)\n"
    )
    command = [sys.executable, "-c", script, f"sqlite:///{path}"]
    workers = [subprocess.Popen([*command, f"n/{n}"], stdout=subprocess.PIPE, text=True) for n in range(2)]
    counts = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sum(counts) == 3000
    assert broker.count([QUEUE])[QUEUE] == Counts()


def test_a_forked_child_begins_anew_and_the_parent_goes_on(opens: Open, path: Path) -> None:
    broker = opens()
    _publish(broker)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            inherited = broker._database._connection
            _publish(broker)
            status = 0 if inherited is None and _ready(broker) == 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    _publish(broker)
    assert _ready(broker) == 3


def test_a_child_forked_while_other_threads_publish_can_publish(opens: Open) -> None:
    """SQLite counts locks by process: within another thread's step the child would find the file locked for ever."""
    broker = opens(publish_timeout=1.0)
    done = threading.Event()

    def publish_on() -> None:
        while not done.is_set():
            _publish(broker, 20)

    threads = [threading.Thread(target=publish_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    _publish(broker)
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        done.set()
        for thread in threads:
            thread.join()
    _publish(broker)


# -- space ------------------------------------------------------------------------------------------------------------


def test_a_full_disk_says_what_to_do_and_loses_nothing(opens: Open) -> None:
    broker = opens()
    _publish(broker, 5)
    connection = broker._database._connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(OperationalError, match="Free space"):
        _publish(broker, 50, size=5000)
    assert _ready(broker) == 5
    connection.execute("PRAGMA max_page_count = 1000000")
    _publish(broker, 50, size=5000)
    assert _ready(broker) == 55


def test_the_file_does_not_grow_with_what_passed_through(opens: Open, path: Path) -> None:
    broker = opens()
    broker.enlist("n/1", [QUEUE])
    consumer = broker.consumer("n/1", [QUEUE])
    done: list[Settlement] = []
    for _ in range(60):
        _publish(broker, 200, size=1000)
        consumer.send(done, 200)
        done = [Settlement(delivery) for delivery in consumer.receive().deliveries]
    broker.promote([QUEUE])
    assert path.stat().st_size < 4_000_000  # 12,000 messages of more than 1 KB passed


def test_a_file_that_is_mostly_empty_is_cut(opens: Open, path: Path) -> None:
    broker = opens()
    _publish(broker, 1000, size=40_000)
    broker._database._next_checkpoint = 0.0
    broker.promote([QUEUE])
    full = path.stat().st_size
    broker.purge([QUEUE])
    for _ in range(20):
        broker._database._next_checkpoint = 0.0
        broker.promote([QUEUE])
    assert full > 40_000_000
    assert path.stat().st_size < full - 20_000_000


def test_expired_results_are_removed_in_portions(opens: Open, path: Path) -> None:
    broker, backend = opens(), open_backend(f"sqlite:///{path}")
    backend.open()
    broker.join(backend.identity, backend.location)
    backend.put_many([Record(f"kept-{n}", b"x", expires=None) for n in range(10)])
    for start in range(0, 3000, 300):
        backend.put_many([Record(f"old-{start + n}", b"x", expires=-1.0) for n in range(300)])
    for _ in range(3):
        broker.promote([QUEUE])
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT count(*) FROM results").fetchone() == (10,)
    reader.close()
    backend.close()


def test_chords_that_are_over_are_erased_in_portions(opens: Open, path: Path) -> None:
    broker, backend = opens(), open_backend(f"sqlite:///{path}")
    assert isinstance(backend, SQLiteBackend)
    backend.open()
    broker.join(backend.identity, backend.location)
    broker.enlist("me", [QUEUE])
    consumer = broker.consumer("me", [QUEUE])
    fire = Outgoing(QUEUE, Message({}, b"x", {}))
    for group_id, size in (("large", 1300), ("small", 3), ("kept", 3)):
        backend.begin_group(group_id, size + 1, 60)
        members = tuple(Member(group_id, str(number), number, b"{}", fire) for number in range(size))
        consumer.send([Settlement(None, members=members)], 0)
        consumer.receive()
    for group_id in ("large", "small"):
        backend.end_group(group_id)
    broker.promote([QUEUE])
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT count(*) FROM parts").fetchone() == (3,)
    assert reader.execute("SELECT count(*) FROM chords").fetchone() == (1,)
    reader.close()
    backend.close()


# -- the bell ---------------------------------------------------------------------------------------------------------


def test_an_ear_hears_and_a_gone_one_is_named() -> None:
    ear, ringer = Ear(), Ringer()
    assert ear.wait(0.0) is Heard.NOTHING
    assert ringer.ring([ear.address]) == []
    assert ear.wait(5.0) is Heard.BELL
    assert ear.wait(0.0) is Heard.NOTHING
    ear.interrupt()
    assert ear.wait(5.0) is Heard.INTERRUPT
    ear.close()
    assert ringer.ring([ear.address]) == [ear.address]
    ringer.close()


def test_a_full_ear_is_not_waited_for() -> None:
    ear, ringer = Ear(), Ringer()
    for _ in range(500):
        assert ringer.ring([ear.address]) == []
    assert ear.wait(5.0) is Heard.BELL
    ear.close()
    ringer.close()


def test_listeners_that_died_are_swept(opens: Open, path: Path) -> None:
    broker = opens()
    waiter = broker.waiter([QUEUE])
    waiter._ear.close()  # as if its process had been killed
    _publish(broker)
    _publish(broker)
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT count(*) FROM listeners").fetchone() == (0,)
    reader.close()


def test_a_waiter_that_was_swept_by_mistake_listens_again(opens: Open, path: Path) -> None:
    broker = opens()
    waiter = broker.waiter([QUEUE])
    broker.forget_listener(waiter._ear.address)
    assert waiter.arm() == 0
    _publish(broker)
    assert waiter.wait(5)
    waiter.close()


def test_a_lost_datagram_is_a_delay_only(opens: Open) -> None:
    broker = opens()
    waiter = broker.waiter([QUEUE])
    assert waiter.arm() == 0
    broker.forget_listener(waiter._ear.address)  # nobody rings now
    _publish(broker)
    assert waiter.wait(10)
    waiter.close()


def test_a_file_of_the_first_days_gets_what_layout_1_got_since(tmp_path: Path) -> None:
    path = tmp_path / "queue.db"
    layout = Path(drivers.__file__).with_name("layout.sql").read_text(encoding="utf-8")
    connection = sqlite3.connect(path)
    connection.executescript(layout)
    connection.executescript(
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
        "INSERT INTO queues (id, name) VALUES (1, 'celery'); INSERT INTO messages VALUES (1, x'7b7d');"
        "UPDATE numbers SET last = 1;"
        "INSERT INTO dead (queue, message, priority, strikes, since, reason, detail, task, task_id)"
        " VALUES (1, 1, 0, 2, 1e9, 'lost', 'why', 'tasks.add', 'id');"
    )
    connection.close()
    broker = open_broker(f"sqlite:///{path}")
    broker.open()
    (letter,) = broker.dead_letters(["celery"])
    assert (letter.payload, letter.strikes, letter.history, letter.traceback) == (b"{}", 2, (), "")
    assert broker.revoke([Revocation("a")]) == broker.revocations()[0]
    assert broker.requeue_dead("celery", [letter.id]) == [letter.id]
    assert broker.count(["celery"])["celery"] == Counts(ready=1)
    broker.close()
