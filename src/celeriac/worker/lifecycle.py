"""The signals of a worker's life, and who sends them.

    celeryd_init, worker_init, celeryd_after_setup    whoever has loaded the app: the template, whose forked runners
                                                      inherit what receivers leave; and whatever starts clean, for
                                                      there it would be missing
    worker_before_create_process                      the template
    worker_process_init, worker_process_shutdown      each runner
    worker_ready, worker_shutting_down, -_shutdown    the attendant (`attendant`); in solo the one process

Receivers that are slow are told of in the log; those that do not return hold up their own process only, and not for
ever. Nothing here decides what a worker does.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from ..execution.telling import Consumer
from ..foundation.dispatch import Signal
from ..signals import (
    celeryd_after_setup,
    celeryd_init,
    eventlet_pool_postshutdown,
    eventlet_pool_preshutdown,
    eventlet_pool_started,
    task_failure,
    task_revoked,
    worker_before_create_process,
    worker_init,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from .options import WorkerOptions

logger = logging.getLogger("celeriac.worker")

#: Seconds that receivers of `worker_process_shutdown` and `worker_shutdown` have.
FAREWELL = 4.0
LAST_WORDS = 5.0
#: Seconds after which a runner whose `worker_process_init` has not returned ends, to be replaced, where
#: `worker_proc_alive_timeout` does not say otherwise: loading a model may take a while, and nothing takes for ever.
HOPELESS = 60.0
EX_HOPELESS = 70


class Instance:
    """What receivers get where Celery's get its worker: who it is and what it was started with."""

    def __init__(self, app: Any, options: WorkerOptions, hostname: str) -> None:
        self.app, self.hostname, self.pid = app, hostname, os.getpid()
        self.loglevel, self.logfile = options.loglevel, options.logfile
        self.concurrency, self.pool_cls = options.concurrency, options.pool
        self.queues, self.exclude_queues = options.queues, options.exclude
        self.options = msgspec.structs.asdict(options)
        self.consumer = Consumer(hostname, app, self)

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname}>"


def starting(instance: Instance) -> None:
    """Before tasks are bound to the settings, so that these may still be changed."""
    safely(
        celeryd_init,
        instance.hostname,
        instance=instance,
        conf=instance.app.conf,
        options=instance.options,
    )


def initialised(instance: Instance) -> None:
    safely(worker_init, instance)


def set_up(instance: Instance) -> None:
    """Logging is configured; what is consumed may still be changed."""
    safely(celeryd_after_setup, instance.hostname, instance=instance, conf=instance.app.conf)


def before_process(instance: Any) -> None:
    safely(worker_before_create_process, instance)


def is_attended() -> bool:
    """Whether anybody listens to what only an attendant can send."""
    heard = (worker_ready, worker_shutting_down, worker_shutdown, task_failure, task_revoked)
    return any(signal.receivers for signal in heard)


# -- in a runner -------------------------------------------------------------------------------------------------------


def process_begins(hostname: str, conf: Any) -> None:
    """worker_process_init. One that does not return ends this process."""
    if not worker_process_init.receivers:
        return
    limit = float(conf.worker_proc_alive_timeout or 0) or FAREWELL
    last = limit if conf.value_set_for("worker_proc_alive_timeout") else max(HOPELESS, limit)

    def too_slow() -> None:
        logger.warning("worker_process_init has not returned after %gs: this process runs no task yet", limit)

    def hopeless() -> None:
        logger.error("worker_process_init has not returned after %gs: this process ends", last)
        _leave(EX_HOPELESS)

    with _alarms((limit, too_slow), (last, hopeless)):
        safely(worker_process_init, hostname)


def process_ends(hostname: str, exit_code: int) -> None:
    """worker_process_shutdown. All is settled by now, so one that does not return loses nothing."""
    if not worker_process_shutdown.receivers:
        return

    def too_slow() -> None:
        logger.warning("worker_process_shutdown has not returned after %gs: the process ends without it", FAREWELL)
        _leave(exit_code)

    with _alarms((FAREWELL, too_slow)):
        safely(worker_process_shutdown, hostname, pid=os.getpid(), exitcode=exit_code)


@contextmanager
def pool_runs(pool: str, sender: Any) -> Iterator[None]:
    """The signals of eventlet's pool. Both of its end are sent when its greenlets have ended."""
    if pool != "eventlet":
        yield
        return
    safely(eventlet_pool_started, sender)
    try:
        yield
    finally:
        safely(eventlet_pool_preshutdown, sender)
        safely(eventlet_pool_postshutdown, sender)


@contextmanager
def _alarms(*alarms: tuple[float, Callable[[], None]]) -> Iterator[None]:
    timers = [threading.Timer(seconds, call) for seconds, call in alarms]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


def _leave(code: int) -> None:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


# -- in an attendant, and in solo --------------------------------------------------------------------------------------


def ready(instance: Instance) -> None:
    safely(worker_ready, instance.consumer)


def stopping(instance: Instance, sig: str, how: str, exit_code: int) -> None:
    safely(worker_shutting_down, instance.hostname, sig=sig, how=how, exitcode=exit_code)


def ended(instance: Instance) -> None:
    safely(worker_shutdown, instance)


def last_words(instance: Instance) -> None:
    """As `ended`, waited for a moment only."""
    if worker_shutdown.receivers:
        thread = threading.Thread(target=ended, args=(instance,), name="worker_shutdown", daemon=True)
        thread.start()
        thread.join(LAST_WORDS)
        if thread.is_alive():
            logger.warning("worker_shutdown has not returned after %gs: the node ends without it", LAST_WORDS)


def safely(signal: Signal, sender: Any, **named: Any) -> None:
    """Send it; whatever a receiver raises, `SystemExit` too, is logged."""
    if signal.receivers:
        try:
            signal.send(sender, **named)
        except BaseException:
            logger.exception("a receiver of %s raised", signal.name)
