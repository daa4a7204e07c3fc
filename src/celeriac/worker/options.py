"""What a worker is started with: the one value between the command line and the node. It holds; it decides nothing."""

from __future__ import annotations

from msgspec import Struct


class WorkerOptions(Struct, frozen=True, kw_only=True):
    """The options of `celeriac worker`, as given: None or empty means "as configured".

    Whatever has a setting of its own (`task_time_limit`, `worker_max_tasks_per_child` …) travels in `settings`, which
    is laid over the app's configuration before the node reads it.
    """

    #: What `-A` named: a module, a package, `module:attribute`. Empty: the app is looked for where Celery looks.
    app: str = ""
    #: The folder to change to before the app is imported; None stays.
    workdir: str | None = None
    loglevel: str = "WARNING"
    #: A path, `%h`, `%n`, `%d`, `%p`, `%i` expanded by the node; None logs to stderr.
    logfile: str | None = None
    #: `name@%h`; None is Celery's `celery@%h`.
    hostname: str | None = None
    #: Slots; None: as configured, or else one per processor.
    concurrency: int | None = None
    #: Runner processes of a pool that has many slots in each; None: one.
    processes: int | None = None
    #: Queues to consume; empty: all that are configured.
    queues: tuple[str, ...] = ()
    #: Queues not to consume.
    exclude: tuple[str, ...] = ()
    #: `prefork`, `solo`, `threads`, `asyncio`, `gevent` or `eventlet`; None: as configured.
    pool: str | None = None
    broker: str | None = None
    backend: str | None = None
    #: A module to read settings from (`--config`).
    config: str | None = None
    #: Modules to import besides those configured.
    include: tuple[str, ...] = ()
    #: Delete what waits in the queues before the start.
    purge: bool = False
    #: No banner.
    quiet: bool = False
    #: Draw the banner and the log in colour; None: on a terminal only.
    color: bool | None = None
    #: Run in the background.
    detach: bool = False
    #: A path, with the same `%` as `logfile`.
    pidfile: str | None = None
    #: User and group to become, by name or number; umask, octal with a leading zero; another Python to run in.
    uid: str | None = None
    gid: str | None = None
    umask: str | None = None
    executable: str | None = None
    #: Load the app anew when its source changes: for development.
    reload: bool = False
    #: Serve health over HTTP on this port; None: not at all.
    health_port: int | None = None
    health_host: str = "127.0.0.1"
    #: Settings given as options of the command line.
    settings: dict[str, object] = {}
