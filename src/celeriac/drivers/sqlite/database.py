"""One SQLite file, opened once in a process: connection, lock, transactions with a deadline, layout. It knows no queue.

One connection for all threads, behind a lock: SQLite has one writer at a time anyway, and a second connection in the
process would only empty the first one's page cache at every commit. A forked child begins with none: it neither uses
nor closes what it inherited (closing could sweep the log that the parent still reads).
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from ...errors import ImproperlyConfigured, LayoutError, OperationalError
from . import faults
from .bell import Ringer

T = TypeVar("T")

APPLICATION_ID = int.from_bytes(b"celr", "big")
LAYOUT = 1
_LAYOUT_SQL = Path(__file__).with_name("layout.sql")
#: Tables that layout 1 got later: a file may lack them, and whoever does not know them may go on with it.
_ADDED_SQL = Path(__file__).with_name("added.sql")
_ADDED = ("revoked", "tallies", "struck", "dead_more", "past", "chords", "parts")

#: Pauses while another process writes, seconds: a turn takes well under a millisecond.
_FIRST_PAUSE = 0.0001
_LONGEST_PAUSE = 0.01
#: Pages of log after which a commit carries them over into the file itself: 16 MB. Upkeep mostly does it before, since
#: it costs two fsyncs; with 4 MB, a drain with a million results in the file ran at two thirds of this.
_CHECKPOINT_PAGES = 4000
#: Seconds between upkeep's looks at the log, and the pages from which on it looks every time.
_CHECKPOINT_PAUSE = 2.0
_LONG_LOG = 1000
#: The log file is cut to this when it is begun anew, bytes.
_LOG_LIMIT = 16 << 20
#: Page cache, KiB.
_CACHE = 8192

#: Seconds between looks whether the file is still the one that was opened.
_LOOK_PAUSE = 1.0
#: Portions that one round of upkeep does of each kind.
_PORTIONS = 10
#: Free pages that the file keeps at any rate: 16 MB.
_SPARE_PAGES = 4096
#: Cuts off 4 MB.
_VACUUM = "PRAGMA incremental_vacuum(1024)"

#: Seconds that a fork waits for other threads' steps; more only where another process holds the file, and then no step
#: holds it here.
_FORK_PATIENCE = 1.0

SYNCHRONOUS = ("NORMAL", "FULL", "OFF")


class Step:
    """A transaction under way: statements, and the topics whose listeners are woken once it is committed."""

    __slots__ = ("execute", "known", "learnt", "many", "topics", "writes")

    def __init__(self, connection: sqlite3.Connection, known: dict[str, int], writes: bool) -> None:
        self.execute = connection.execute
        self.many = connection.executemany
        self.topics: set[str] = set()
        #: Facts that hold as long as the file does (numbers of queues), and those that will once this is committed.
        self.known = known
        self.learnt: dict[str, int] = {}
        self.writes = writes

    def numbers(self, count: int) -> range:
        """`count` numbers never given before, ascending."""
        last = self.execute("UPDATE numbers SET last = last + ? RETURNING last", (count,)).fetchone()[0]
        return range(last - count + 1, last + 1)


class Database:
    """A file. Every error is ours; `OperationalError` means that the step has left no trace."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self.path = path
        self.synchronous = synchronous
        self._users = 0
        #: Called by `tidy` in a step; each does a bounded portion and says whether there may be more.
        self.tidiers: set[Callable[[Step], bool]] = set()
        self._fresh()
        _databases.add(self)

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._ringer = Ringer()
        #: Listeners that turned out to be gone; the next step deletes their rows.
        self._gone: set[str] = set()
        self._known: dict[str, int] = {}
        self._next_checkpoint = 0.0
        self._next_look = 0.0
        self._known_inode: tuple[int, int] | None = None

    # -- connection ---------------------------------------------------------------------------------------------

    def open(self, timeout: float) -> None:
        """Connect and check, or make, the layout. Raises: OperationalError, LayoutError."""
        self.read(lambda step: None, timeout)

    def retain(self) -> None:
        """One more adapter uses it."""
        with _guard:
            self._users += 1

    def release(self) -> None:
        """One adapter less; with the last one the connection is closed. A later step makes a new one."""
        with _guard:
            self._users -= 1
            if self._users > 0:
                return
        with self._lock:
            self._drop()
            self._ringer.close()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._known = {}
        if connection is not None:
            connection.close()

    def _connected(self, deadline: float) -> sqlite3.Connection:
        now = time.monotonic()
        if self._connection is not None and now >= self._next_look:
            self._next_look = now + _LOOK_PAUSE
            if self._inode() != self._known_inode:  # deleted or replaced: nobody else would see what we write
                self._drop()
        if self._connection is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OperationalError(f"The folder of the queue file {self.path} cannot be made: {error}") from error
            self._connection = self._retrying(self._connect, deadline)
            self._known_inode = self._inode()
        return self._connection

    def _inode(self) -> tuple[int, int] | None:
        try:
            facts = os.stat(self.path)
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        self._check_layout(connection)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise OperationalError(
                f"The queue file {self.path} cannot be shared by processes: its file system knows no shared memory. "
                f"Put it on a local disk (CELERIAC_HOME)"
            )
        connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE}")

    def _check_layout(self, connection: sqlite3.Connection) -> None:
        ours = self._is_ours(connection)
        if ours and _is_whole(connection):
            return
        if not ours:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._is_ours(connection):  # another process may have been faster
                _run_script(connection, _LAYOUT_SQL)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {LAYOUT}")
            if not _is_whole(connection):
                _run_script(connection, _ADDED_SQL)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """False for an empty file. Raises: LayoutError for anything that this version must not touch."""
        owner = connection.execute("PRAGMA application_id").fetchone()[0]
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if owner == APPLICATION_ID and layout == LAYOUT:
            return True
        if owner == APPLICATION_ID:
            raise LayoutError(
                f"{self.path} has layout {layout}, this version of celeriac knows {LAYOUT}: upgrade celeriac, or give "
                f"another path"
            )
        if owner or layout or tables:
            raise LayoutError(f"{self.path} is another program's database: give another path")
        return False

    def tidy(self, timeout: float) -> None:
        """Upkeep, in bounded steps: what the adapters registered, then pages given back to the file system."""
        for tidier in self.tidiers:
            for _ in range(_PORTIONS):
                if not self.write(tidier, timeout):
                    break
        self._shrink(timeout)
        self._checkpoint(timeout)

    def _checkpoint(self, timeout: float) -> None:
        """Carry the log over into the file, so that no turn has to. Nothing to carry costs nothing."""
        if time.monotonic() < self._next_checkpoint:
            return
        row = self._bare(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone(), timeout)
        long = row is None or row[1] > _LONG_LOG
        self._next_checkpoint = time.monotonic() + (0.0 if long else _CHECKPOINT_PAUSE)

    def _bare(self, work: Callable[[sqlite3.Connection], T], timeout: float) -> T | None:
        """Run upkeep that wants no transaction around it; None if another process is in the way: it can wait."""
        self._acquire(timeout)
        try:
            return work(self._connected(time.monotonic() + timeout))
        except sqlite3.Error as error:
            if faults.is_busy(error):
                return None
            raise self._failed(error) from error
        finally:
            self._lock.release()

    def _shrink(self, timeout: float) -> None:
        """Cut the file while most of it is empty; a queue that breathes keeps its pages."""
        free, pages = self.read(_free_pages, timeout)
        if free > _SPARE_PAGES and free > pages // 2:
            # As a script: `execute` would take the first of the statement's steps, which is one page.
            self._bare(lambda connection: connection.executescript(_VACUUM), timeout)

    # -- steps --------------------------------------------------------------------------------------------------

    def write(self, work: Callable[[Step], T], timeout: float) -> T:
        """Run `work` in a transaction: all of it is stored, or nothing. Waits `timeout` seconds for other writers.

        Raises: OperationalError; whatever `work` raises, after a rollback.
        """
        deadline = time.monotonic() + timeout
        self._acquire(timeout)
        try:
            connection = self._connected(deadline)
            self._retrying(lambda: connection.execute("BEGIN IMMEDIATE"), deadline, timeout)
            result, listeners = self._commit(connection, work)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        finally:
            self._lock.release()
        if listeners:
            self._gone.update(self._ringer.ring(listeners))
        return result

    def read(self, work: Callable[[Step], T], timeout: float) -> T:
        """Run `work`, which only reads, on one state of the file. Raises: OperationalError."""
        deadline = time.monotonic() + timeout
        self._acquire(timeout)
        try:
            connection = self._connected(deadline)
            return self._retrying(lambda: self._snapshot(connection, work), deadline, timeout)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        finally:
            self._lock.release()

    def _acquire(self, timeout: float) -> None:
        if not self._lock.acquire(timeout=max(0.0, timeout)):
            raise faults.busy(self.path, timeout)

    def _commit(self, connection: sqlite3.Connection, work: Callable[[Step], T]) -> tuple[T, list[str]]:
        step = Step(connection, self._known, True)
        try:
            result = work(step)
            if self._gone:
                step.many("DELETE FROM listeners WHERE address = ?", [(address,) for address in self._gone])
                self._gone.clear()
            listeners = _listeners(step) if step.topics else []
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._known.update(step.learnt)
        return result, listeners

    def _snapshot(self, connection: sqlite3.Connection, work: Callable[[Step], T]) -> T:
        step = Step(connection, self._known, False)
        connection.execute("BEGIN")
        try:
            result = work(step)
        finally:
            connection.execute("COMMIT")
        self._known.update(step.learnt)
        return result

    def _retrying(self, attempt: Callable[[], T], deadline: float, timeout: float = 0.0) -> T:
        """The result of `attempt`, which another process may keep from succeeding for a while."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return attempt()
            except sqlite3.Error as error:
                if not faults.is_busy(error):
                    raise
                if time.monotonic() >= deadline:
                    raise faults.busy(self.path, timeout) from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _failed(self, error: sqlite3.Error) -> Exception:
        if faults.breaks_connection(error):
            self._drop()
        return faults.explain(error, self.path)


def _free_pages(step: Step) -> tuple[int, int]:
    free, pages = (step.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count"))
    return free, pages


def _listeners(step: Step) -> list[str]:
    addresses: list[str] = []
    for topic in step.topics:
        addresses += [row[0] for row in step.execute("SELECT address FROM listeners WHERE topic = ?", (topic,))]
    return addresses


def _is_whole(connection: sqlite3.Connection) -> bool:
    marks = ", ".join("?" * len(_ADDED))
    found = connection.execute(f"SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ({marks})", _ADDED)
    return bool(found.fetchone()[0] == len(_ADDED))


def _run_script(connection: sqlite3.Connection, path: Path) -> None:
    for statement in _statements(path.read_text(encoding="utf-8")):
        connection.execute(statement)


def _statements(script: str) -> Iterable[str]:
    """One by one: `executescript` would commit what is under way."""
    bare = "\n".join(line.partition("--")[0] for line in script.splitlines())
    return [statement for statement in map(str.strip, bare.split(";")) if statement]


# -- the process's files ----------------------------------------------------------------------------------------------

_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_opened: dict[Path, Database] = {}
_guard = threading.Lock()


def database(path: Path, synchronous: str) -> Database:
    """The one `Database` of this file in this process: what asks for the same file shares it.

    Raises: ImproperlyConfigured if `synchronous` is unknown.
    """
    level = synchronous.upper()
    if level not in SYNCHRONOUS:
        raise ImproperlyConfigured(f"sqlite: synchronous={synchronous!r} is none of {', '.join(SYNCHRONOUS)}")
    real = Path(os.path.realpath(path))
    with _guard:
        found = _opened.get(real)
        if found is None:
            found = _opened[real] = Database(real, level)
        elif level == "FULL":
            found.synchronous = level  # the safest wish holds for all
        return found


#: Per forking thread, `locks`: what `_before_fork` took.
_forking = threading.local()


def _before_fork() -> None:
    """Let the steps of other threads end. SQLite counts locks by process: a child born within a step would find the
    file locked for ever, by a connection whose thread it does not have."""
    _forking.locks = [known._lock for known in list(_databases) if known._lock.acquire(timeout=_FORK_PATIENCE)]


def _forked_from() -> None:
    """In the parent."""
    for lock in _forking.locks:
        lock.release()
    _forking.locks = []


def _forked() -> None:
    """In a forked child: begin anew, and leak what was inherited, so that not even the interpreter's end closes it."""
    global _guard
    _guard = threading.Lock()
    _forking.locks = []
    for known in _databases:
        if known._connection is not None:
            import ctypes  # heavy, and needed only where a program forks with the queue in use

            ctypes.pythonapi.Py_IncRef(ctypes.py_object(known._connection))
        known._fresh()


os.register_at_fork(before=_before_fork, after_in_parent=_forked_from, after_in_child=_forked)
