"""Every row: what is measured, on which engine, against whom, and the bar. To add a row, add it here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from .bars import Bar, at_least, at_most, beside, both, times
from .case import Effort, Side
from .client import Figures
from .peers import CELERIAC, CELERIAC_GUARDED, CELERIAC_MANY, CELERY, CELERY_GUARDED, HUEY
from .rows import crash, drain, latency, length, many, memory, publish
from .stages import Engine, RedisStage, SqliteStage, Stage, redis_aof, sqlite_full, sqlite_normal


class Metric(NamedTuple):
    """One figure of a row. `places`: digits after the point."""

    key: str
    unit: str
    places: int = 0
    label: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the results."""

    key: str
    title: str
    #: Makers: a side remembers how many tasks it takes, so every run of a row has its own.
    sides: tuple[Callable[[], Side], ...]
    measure: Callable[[Side, Stage, Effort], Figures]
    metrics: tuple[Metric, ...]
    bar: Bar | None = None
    engine: str = ""
    stage: Engine = RedisStage
    #: Repetitions are costly and the figure is steady: this many at most.
    repeat: int = 99


def ours() -> Side:
    """Celeriac, with enough tasks for a drain of seconds."""
    return Side(CELERIAC, 120_000)


def celery() -> Side:
    """Real Celery."""
    return Side(CELERY, 3_000)


def huey() -> Side:
    """Huey."""
    return Side(HUEY, 8_000)


def ours_napping() -> Side:
    """Celeriac, with enough tasks of 1 ms for a drain of seconds."""
    return Side(CELERIAC, 10_000)


def ours_guarded() -> Side:
    """Celeriac with signals connected and time limits set."""
    return Side(CELERIAC_GUARDED, 120_000)


def celery_guarded() -> Side:
    """Real Celery with the same."""
    return Side(CELERY_GUARDED, 3_000)


def ours_many() -> Side:
    """Celeriac, thousands of coroutines in one process."""
    return Side(CELERIAC_MANY)


RATE = (Metric("rate", "/s"),)
PROCESSES = (Metric("one", "/s", label="1:"), Metric("two", "/s", label="2:"), Metric("ratio", "×", 2))
TRIP = (Metric("p50", "ms", 2, "p50"), Metric("p99", "ms", 2, "p99"))
COUNTDOWN = (Metric("mb", "MB", 1), Metric("seconds", "s", 1, "put off in"))
CRASH = (
    Metric("lost", "", label="lost"),
    Metric("twice", "", label="twice"),
    Metric("open", "", label="begun at the kill"),
    Metric("seconds", "s", 1, "last ran after"),
)
LENGTH = (
    Metric("publish_short", "us", 2, "publish at 1,000:"),
    Metric("publish_long", "us", 2, "at 1,000,000:"),
    Metric("publish_ratio", "×", 3),
    Metric("drain_short", "us", 2, "drain at 1,000:"),
    Metric("drain_long", "us", 2, "at 1,000,000:"),
    Metric("drain_ratio", "×", 3),
)

SECOND = at_least("ratio", 1.8, "×")
SOON = both(at_most("p50", 0.5, "ms", label="p50"), at_most("p99", 2, "ms", label="p99"))
START = at_most("ms", 250, "ms")
IDLE = at_most("mb", 60, "MB")
DELAYED = at_most("mb", 5, "MB")
#: Two leases of 15 s, counted from the restart.
KILLED = both(at_most("lost", 0, label="lost"), at_most("seconds", 30, "s"))
SAME_COST = both(
    at_most("publish_ratio", 1.1, "×", label="publish"),
    at_most("drain_ratio", 1.1, "×", label="drain"),
)

DOZED = (Metric("seconds", "s", 2), Metric("most", "at once", label="most"))
AWAKE = at_most("seconds", 4, "s")

IDLE_FIGURES = (Metric("mb", "MB", 1), Metric("processes", "processes"))
START_FIGURES = (Metric("ms", "ms"),)

Sides = tuple[Callable[[], Side], ...]
ALL: Sides = (ours, celery, huey)
WITH_CELERY: Sides = (ours, celery)
GUARDED_WITH_CELERY: Sides = (ours_guarded, celery_guarded)
MANY: Sides = (ours_many,)
NAPPING_WITH_CELERY: Sides = (ours_napping, celery)
NAPPING_WITH_HUEY: Sides = (ours_napping, huey)
WITH_HUEY: Sides = (ours, huey)
ALONE: Sides = (ours,)

FASTEST = both(times("rate", "Celery", 25, above=17_900, field="BullMQ"), times("rate", "huey", 1))
CALL = both(times("rate", "Celery", 6), times("rate", "huey", 1))
BESIDE_HUEY = beside("rate", "huey")
BATCH = times("rate", "Celery", 30, above=61_900, field="graphile-worker")

RESULTS_TITLE = "worker, no-op tasks, 1 process, results"
SECOND_TITLE = "bodies that sleep 1 ms, 1 and 2 processes"
MANY_TITLE = "10,000 × `await asyncio.sleep(1)`, `-P asyncio -c 10000`"
TRIP_TITLE = "idle round trip, `delay().get()`"
START_TITLE = "worker start to first task"
IDLE_TITLE = "idle memory (PSS), 2 slots"
COUNTDOWN_TITLE = "100,000 tasks with countdown=3600: memory"
KILL_TITLE = "`kill -9` of the node, 2,000 tasks of 5 ms"
LENGTH_TITLE = "cost per task by length of the queue"

redis = partial(Row, engine="Redis", stage=RedisStage)
sqlite = partial(Row, engine="SQLite", stage=SqliteStage)

ROWS: tuple[Row, ...] = (
    redis("redis-results", RESULTS_TITLE, ALL, drain.one_process, RATE, FASTEST),
    redis("redis-aof", "the same, AOF everysec", ALONE, drain.one_process, RATE, stage=redis_aof),
    redis(
        *("redis-no-results", "the same, results off", WITH_CELERY),
        *(drain.one_process_no_results, RATE, times("rate", "Celery", 25)),
    ),
    redis(
        *("redis-guarded", "results, four task signals heard, time limits set", GUARDED_WITH_CELERY),
        *(drain.one_process, RATE, times("rate", "Celery", 25)),
    ),
    redis(
        "redis-asyncio", "10,000 × `await asyncio.sleep(1)`, `-P asyncio -c 10000`", MANY, many.coroutines, DOZED, AWAKE
    ),
    redis("redis-second", SECOND_TITLE, NAPPING_WITH_CELERY, drain.second_process, PROCESSES, SECOND),
    redis("redis-delay", "`delay()` one by one", ALL, publish.one_by_one, RATE, CALL),
    redis("redis-batch", "`send_many`, 100 a call (Celery: one by one)", WITH_CELERY, publish.batches, RATE, BATCH),
    redis("redis-trip", TRIP_TITLE, ALL, latency.round_trip, TRIP, SOON),
    redis("redis-start", START_TITLE, WITH_CELERY, latency.start, START_FIGURES, START),
    redis("redis-idle", IDLE_TITLE, WITH_CELERY, memory.idle, IDLE_FIGURES, IDLE),
    redis("redis-countdown", COUNTDOWN_TITLE, WITH_CELERY, memory.countdown, COUNTDOWN, DELAYED, repeat=1),
    redis("redis-kill", KILL_TITLE, WITH_CELERY, crash.kill_node, CRASH, KILLED),
    redis("redis-length", LENGTH_TITLE, ALONE, length.cost, LENGTH, SAME_COST, repeat=1),
    sqlite("sqlite-results", RESULTS_TITLE, WITH_HUEY, drain.one_process, RATE, times("rate", "huey", 10)),
    sqlite(
        *("sqlite-normal", "the same, both synchronous=NORMAL", WITH_HUEY, drain.one_process, RATE, BESIDE_HUEY),
        stage=sqlite_normal,
    ),
    sqlite(
        *("sqlite-full", "the same, both synchronous=FULL", WITH_HUEY, drain.one_process, RATE, BESIDE_HUEY),
        stage=sqlite_full,
    ),
    sqlite("sqlite-no-results", "the same, results off", WITH_HUEY, drain.one_process_no_results, RATE, BESIDE_HUEY),
    sqlite("sqlite-second", SECOND_TITLE, NAPPING_WITH_HUEY, drain.second_process, PROCESSES, SECOND),
    sqlite("sqlite-delay", "`delay()` one by one", WITH_HUEY, publish.one_by_one, RATE, BESIDE_HUEY),
    sqlite("sqlite-batch", "`send_many`, 100 a call (huey: one by one)", WITH_HUEY, publish.batches, RATE, BESIDE_HUEY),
    sqlite("sqlite-trip", TRIP_TITLE, WITH_HUEY, latency.round_trip, TRIP, SOON),
    sqlite("sqlite-start", START_TITLE, WITH_HUEY, latency.start, START_FIGURES, START),
    sqlite("sqlite-idle", IDLE_TITLE, WITH_HUEY, memory.idle, IDLE_FIGURES, IDLE),
    sqlite("sqlite-countdown", COUNTDOWN_TITLE, WITH_HUEY, memory.countdown, COUNTDOWN, DELAYED, repeat=1),
    sqlite("sqlite-kill", KILL_TITLE, WITH_HUEY, crash.kill_node, CRASH, KILLED),
    sqlite("sqlite-length", LENGTH_TITLE, ALONE, length.cost, LENGTH, SAME_COST, repeat=1),
)
