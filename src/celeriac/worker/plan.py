"""The plan: what a node must know of the app, as data. The template makes it; the supervisor never imports the app."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ..errors import ImproperlyConfigured

#: Pools whose processes run many tasks at a time; those of greenlets start from an interpreter that is patched first.
MANY = ("threads", "asyncio", "gevent", "eventlet")
GREEN = ("gevent", "eventlet")


class Policy(Struct, frozen=True, kw_only=True):
    """A task's options that decide where no code of the task can be asked: its process is gone (guide: Tasks).

    None: not set, neither for the task nor for the app.
    """

    acks_late: bool | None = None
    reject_on_worker_lost: bool | None = None
    acks_on_failure: bool | None = None
    acks_on_timeout: bool | None = None
    retry_on_worker_lost: bool | None = None
    max_retries: int | None = 3
    default_retry_delay: float = 180.0
    ignore_result: bool | None = None
    store_errors_even_if_ignored: bool | None = None
    dead_letter: bool | None = None
    dead_letter_requeue_after: float | None = None
    dead_letter_max_requeues: int | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """Times in seconds, sizes in bytes."""

    name: str
    #: With every default filled in: the embedded queue by its absolute path.
    broker: str
    backend: str | None
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    #: Lines for the start: what the app asks for and this version does not do.
    warnings: tuple[str, ...]
    #: Where tasks run: `prefork`, `solo`, `threads`, `asyncio`, `gevent` or `eventlet`.
    pool: str
    #: Runner processes, and how many tasks each runs at a time.
    processes: int
    lanes: int
    lease: float
    max_strikes: int
    #: How long a warm shutdown waits for running tasks; None: as long as they take.
    grace: float | None
    #: How long a cold one waits for them first (0.0: not at all), and whether it does so where nothing runs.
    soft_shutdown: float = 0.0
    soft_when_idle: bool = False
    read_ahead: int
    read_ahead_bytes: int
    #: With autoscale: of all slots, how many there are at least; 0: no autoscale.
    least: int = 0
    #: Bytes of the node's processes above which nothing is reserved; 0: no limit.
    max_memory: int = 0
    #: The most messages that a runner reserves, what runs included; 0: by measured run times alone.
    reserved: int = 0
    #: Somebody listens to signals that an attendant sends.
    attended: bool = False
    #: What becomes of a task whose process dies under it, for tasks that differ from `policy`, by name.
    policy: Policy
    policies: dict[str, Policy]
    #: Tasks that as errbacks are called with (request, exception, traceback), which no message carries.
    called_errbacks: frozenset[str] = frozenset()
    #: Settings that the app sets and that can be written as JSON: enough for a bare app beside it.
    settings: dict[str, Any]

    @property
    def desks(self) -> int:
        """Lanes of a process on the board: never one where the pool has many, for by that its supervisor knows that no
        task of it runs in a main thread."""
        return max(2, self.lanes) if self.pool in MANY else self.lanes

    @property
    def concurrency(self) -> int:
        """Tasks at a time, in all processes together."""
        return self.processes * self.lanes


def pool_named(name: str) -> str:
    """The pool that Celery's or our name means.

    Raises: ImproperlyConfigured for what no worker of ours can run tasks in.
    """
    pool = {"processes": "prefork"}.get(name, name)
    if pool in ("prefork", "solo", *MANY):
        return pool
    known = "choose prefork, solo, threads, asyncio, gevent or eventlet"
    if pool == "custom" or "." in pool or ":" in pool:
        raise ImproperlyConfigured(f"pool {name!r}: a pool class of your own cannot be used here; {known}")
    raise ImproperlyConfigured(f"{name!r} is no pool; {known}")
