"""Who is measured, and by which command its worker starts: at its defaults, logging errors only."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Peer:
    """A library. `arguments` hold `{slots}` where the number of task processes goes."""

    name: str
    #: The distribution whose version is printed.
    distribution: str
    #: The module with its app and its way to call (see `apps`).
    module: str
    arguments: tuple[str, ...]
    #: The Redis LIST that holds waiting messages.
    queue: str = "celery"

    def worker(self, slots: int) -> list[str]:
        """The command line of a worker with that many slots."""
        return [sys.executable, *(argument.format(slots=slots) for argument in self.arguments)]


_PREFORK = ("worker", "-P", "prefork", "-c", "{slots}")

CELERIAC = Peer(
    "celeriac",
    "celeriac",
    "benchmarks.apps.celeriac_app",
    ("-m", "celeriac", "-A", "benchmarks.apps.celeriac_app", *_PREFORK, "-l", "ERROR", "-Q", "celery"),
)
CELERY = Peer(
    "Celery",
    "celery",
    "benchmarks.apps.celery_app",
    (
        *("-m", "celery", "-A", "benchmarks.apps.celery_app", *_PREFORK),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "ERROR"),
    ),
)
HUEY = Peer(
    "huey",
    "huey",
    "benchmarks.apps.huey_app",
    ("-m", "huey.bin.huey_consumer", "benchmarks.apps.huey_app.huey", "-w", "{slots}", "-k", "process", "-q"),
    queue="huey.redis.bench",
)


def _with_app(peer: Peer, module: str, *more: str) -> Peer:
    """The same peer with another application, and options that come last and win."""
    arguments = (module if argument == peer.module else argument for argument in peer.arguments)
    return replace(peer, module=module, arguments=(*arguments, *more))


CELERIAC_GUARDED = _with_app(CELERIAC, "benchmarks.apps.celeriac_guarded")
CELERY_GUARDED = _with_app(CELERY, "benchmarks.apps.celery_guarded")
CELERIAC_MANY = _with_app(CELERIAC, "benchmarks.apps.celeriac_many", "-P", "asyncio")
