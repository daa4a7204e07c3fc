"""Loading the app as a worker does: the folder, the app that `-A` names, its modules, the options laid over it."""

from __future__ import annotations

import contextlib
import importlib.util
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import Struct

from ..client.app import Celery
from ..client.current import get_current_app
from ..client.progress import seconds
from ..errors import CeleriacError, ImproperlyConfigured
from ..execution import limits
from ..execution.follow_up import takes_three
from ..foundation import home, identifiers, loading
from ..foundation.rate import rate
from ..foundation.tracebacks import users_part
from . import lifecycle, soundness
from .logging_setup import set_up
from .machine import memory_limit, processors
from .not_yet import not_done, unused
from .options import WorkerOptions
from .plan import GREEN, Plan, Policy, pool_named
from .size import autoscale_of, size


class Loaded(Struct, frozen=True):
    """An app with all its tasks imported, and how this node runs it."""

    app: Any
    plan: Plan
    options: WorkerOptions
    hostname: str
    #: What receivers of signals get as the worker.
    instance: Any = None

    @property
    def start_method(self) -> str:
        """`fork`, `spawn`, or empty: whichever is sound."""
        method = self.app.conf.worker_pool_start_method or ""
        return "spawn" if method == "forkserver" else method

    def preload(self) -> None:
        """Imports what a runner will need of the broker and the backend; connects to nothing.

        What is wrong with either is said by whoever opens it.
        """
        with contextlib.suppress(CeleriacError):
            self.app.open_broker()
            if self.app.backend_url is not None:
                self.app.open_backend()


def load(options: WorkerOptions, index: int | None = None) -> Loaded:
    """With `index` (see `logging_setup`) logging is configured on the way. Raises: ImproperlyConfigured, and whatever
    the user's modules raise, as it is."""
    loading.cwd_on_path()
    app = loading.find_app(options.app, Celery) if options.app else get_current_app()
    _lay_over(app, options)
    app.import_modules()
    hostname = identifiers.node_name(options.hostname)
    instance = lifecycle.Instance(app, options, hostname)
    lifecycle.starting(instance)
    app.finalize()
    lifecycle.initialised(instance)
    if index is not None:
        set_up(app.conf, options, redirect=True, index=index)
    lifecycle.set_up(instance)
    return Loaded(app, plan_of(app, options), options, hostname, instance)


def _lay_over(app: Celery, options: WorkerOptions) -> None:
    if options.config:
        app.config_from_object(options.config)
    settings: dict[str, Any] = dict(options.settings)
    if options.broker:
        settings["broker_url"] = options.broker
    if options.backend:
        settings["result_backend"] = options.backend
    if options.include:
        settings["include"] = [*(app.conf.include or ()), *options.include]
    if settings:
        app.conf.override(settings)


def plan_of(app: Celery, options: WorkerOptions) -> Plan:
    """What the rest of the node must know."""
    conf = app.conf
    soundness.check(app)
    pool, processes, lanes, least = _slots(app, options)
    _check_rates(app)
    limits.check(pool, conf, app.tasks.values())
    return Plan(
        name=app.main or "__main__",
        broker=_resolved(app.broker_url, app.main_file),
        backend=None if app.backend_url is None else _resolved(app.backend_url, app.main_file),
        queues=_queues(app, options),
        tasks=tuple(sorted(name for name in app.tasks if not name.startswith(("celery.", "celeriac.")))),
        warnings=(*not_done(app), *unused(app, options, pool)),
        pool=pool,
        processes=processes,
        lanes=lanes,
        attended=lifecycle.is_attended(),
        policy=_common_policy(app),
        policies=_policies(app),
        called_errbacks=frozenset(name for name, task in app.tasks.items() if takes_three(task)),
        lease=_lease(conf.worker_lease),
        max_strikes=int(conf.task_max_strikes),
        grace=None if conf.worker_shutdown_grace is None else float(conf.worker_shutdown_grace),
        soft_shutdown=float(conf.worker_soft_shutdown_timeout or 0),
        soft_when_idle=bool(conf.worker_enable_soft_shutdown_on_idle),
        read_ahead=int(conf.worker_read_ahead),
        reserved=_reserved(conf, lanes),
        least=least,
        max_memory=size(conf.worker_max_memory, memory_limit),
        read_ahead_bytes=int(conf.worker_read_ahead_bytes),
        settings=_portable(conf.without_defaults()),
    )


def _lease(seconds: Any) -> float:
    if not isinstance(seconds, int | float) or not 0.1 <= seconds <= 3600:
        raise ImproperlyConfigured(
            f"worker_lease is {seconds!r}: it must be seconds, from 0.1 to 3600 (15 suits most networks)"
        )
    return float(seconds)


def _resolved(url: str, main_file: str | None) -> str:
    """The embedded queue by its absolute path, which does not depend on who opens it."""
    return f"sqlite:///{home.embedded_path(main_file)}" if url == "sqlite://" else url


def _queues(app: Celery, options: WorkerOptions) -> tuple[str, ...]:
    names = options.queues or _configured_queues(app)
    kept = tuple(dict.fromkeys(name for name in names if name not in options.exclude))
    if not kept:
        raise ImproperlyConfigured("no queue is left to consume: give -Q, or take some out of -X")
    return kept


def _configured_queues(app: Celery) -> tuple[str, ...]:
    """`task_queues` as names, a mapping, or objects with a name (kombu's); else the default queue."""
    queues = app.conf.task_queues or (app.conf.task_default_queue,)
    return tuple(str(getattr(queue, "name", queue)) for queue in queues)


def _count(wanted: Any) -> int:
    """Slots: a number, or (`auto`, 0, None) one for each processor."""
    text = str(wanted or "auto").strip().lower()
    if text == "auto":
        return processors()
    if not text.isdigit():
        raise ImproperlyConfigured(f"worker_concurrency is {wanted!r}: give a number or 'auto'")
    return int(text) or processors()


def _check_rates(app: Celery) -> None:
    """Here, where it ends the start: a runner could only end itself. Raises: ImproperlyConfigured."""
    for name, task in app.tasks.items():
        try:
            rate(task.rate_limit)
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(f"task {name}: {error}") from None


def _reserved(conf: Any, lanes: int) -> int:
    """Celery's worker_prefetch_multiplier where it is set, 0 (as many as fit) where it is not."""
    if conf.worker_disable_prefetch:
        return lanes
    return lanes * int(conf.worker_prefetch_multiplier or 0) if conf.value_set_for("worker_prefetch_multiplier") else 0


def _slots(app: Celery, options: WorkerOptions) -> tuple[str, int, int, int]:
    """(pool, processes, lanes a process, the least number of slots or 0)."""
    pool = pool_named(options.pool or app.conf.worker_pool or "prefork")
    wanted = options.concurrency or app.conf.worker_concurrency
    most, least = autoscale_of(app.conf.worker_autoscale)
    count = most or _count(wanted)
    if pool == "solo":
        return pool, 1, 1, 0
    if pool == "prefork":
        return pool, (not most and options.processes) or count, 1, least
    _have(pool)
    return pool, options.processes or 1, count, least


def _have(pool: str) -> None:
    """Raises: ImproperlyConfigured where the pool's library is not installed."""
    if pool in GREEN and importlib.util.find_spec(pool) is None:
        raise ImproperlyConfigured(f"-P {pool} needs {pool}: pip install 'celeriac[{pool}]'")


def policy_of(task: Any) -> Policy:
    """What the supervisor must know of a task, or of the app's base class, which has what the settings say."""
    options = {name: getattr(task, name) for name in Policy.__struct_fields__}
    options["dead_letter_requeue_after"] = seconds(options["dead_letter_requeue_after"])
    try:
        return msgspec.convert(options, Policy)
    except msgspec.ValidationError as error:
        raise ImproperlyConfigured(f"task {task.name or '(settings of all tasks)'}: {error}") from error


def _common_policy(app: Celery) -> Policy:
    """That of a task without options of its own."""
    plain: Any = type("plain", (app.Task,), {})
    plain.bind(app)
    return policy_of(plain)


def _policies(app: Celery) -> dict[str, Policy]:
    common = _common_policy(app)
    own = ((name, policy_of(task)) for name, task in app.tasks.items())
    return {name: policy for name, policy in own if policy != common}


def _portable(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that can be written as JSON; the others (callables, classes) matter only where tasks run."""
    kept: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, timedelta):  # JSON would make a text of it that no setting reads
            value = value.total_seconds()
        try:
            kept[name] = msgspec.json.decode(msgspec.json.encode(value))
        except (TypeError, ValueError, msgspec.MsgspecError):
            continue
    return kept


def explain(error: BaseException) -> str:
    """Why the app was not loaded: a clear line for our own errors, else the traceback from where it is the user's."""
    return f"celeriac: {error}\n" if isinstance(error, CeleriacError) else users_part(error)
