"""`app.control`: orders to all workers. They are kept in the broker, so that a worker that starts later obeys too.

Celery's guide: Workers, "Revoking tasks". What asks workers for answers (`inspect`, `ping` …) is not here.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..brokers.revocation import Revocation, rate_change
from ..errors import ImproperlyConfigured
from ..foundation.rate import rate

if TYPE_CHECKING:
    from .app import Celery

__all__ = ["Control"]

#: Arguments of Celery's broadcasts that choose how an order travels: here it is stored, and there is no reply.
_TRAVEL = frozenset(
    {"callback", "channel", "connection", "limit", "matcher", "pattern", "reply", "timeout", "wait", "ignore_timeouts"}
)


class Control:
    """Of one app."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Any = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        **travel: Any,
    ) -> None:
        """No worker is to run this task, or these: their state becomes REVOKED when one would have begun.

        With `terminate` it is also ended where it runs: in a process of its own by `signal` (SIGKILL follows after 5 s,
        save where the signal is SIGUSR1, which raises SoftTimeLimitExceeded in the task); where many run in a process
        by an exception in that task, and only if that does not help by the end of the process, whose other tasks go
        back to their queues.

        A message that no worker has reserved when this returns is never started. It is kept for `revokes_expire`
        seconds. Raises: OperationalError; ValueError for a signal that there is not.
        """
        ids = [task_id] if isinstance(task_id, str) else [str(one) for one in task_id]
        self._store([Revocation(one, {}, terminate, number_of(signal)) for one in ids], destination, travel)

    def terminate(
        self, task_id: str | Iterable[str], destination: Any = None, signal: str | int | None = "SIGTERM", **travel: Any
    ) -> None:
        """`revoke` with `terminate`."""
        self.revoke(task_id, destination, True, signal, **travel)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Any = None,
        terminate: bool = False,
        signal: str | int | None = "SIGTERM",
        **travel: Any,
    ) -> None:
        """As `revoke`, for all tasks with one of these stamps: `{"header": "value"}` or `{"header": ["a", "b"]}`."""
        entries = [
            Revocation("", {name: _texts(values)}, terminate, number_of(signal)) for name, values in headers.items()
        ]
        self._store(entries, destination, travel)

    def rate_limit(
        self, task_name: str, rate_limit: str | float | None, destination: Any = None, **travel: Any
    ) -> None:
        """Each worker is to start no more of this task than `10/m`, `100/h`, `0.5/s` or a number a second; None or 0:
        as many as it can.

        Workers hear of it within a second, and what they had put off before comes back within a minute. It holds for
        workers that start later too, and is kept for `revokes_expire` seconds. Raises: OperationalError;
        ImproperlyConfigured for what is no rate.
        """
        limited = rate(rate_limit) > 0
        self._store([rate_change(task_name, str(rate_limit) if limited else "")], destination, travel)

    def _store(self, entries: list[Revocation], destination: Any, travel: Mapping[str, Any]) -> None:
        unknown = sorted(travel.keys() - _TRAVEL)
        if unknown:
            raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
        if destination:
            raise ImproperlyConfigured("destination: revocations hold for every worker; leave it out")
        if entries:
            self._app.broker.revoke(entries)


def number_of(signal: str | int | None) -> int:
    """Of a signal's name (`SIGTERM`, `term`) or number; None is SIGTERM. Raises: ValueError."""
    if signal is None:
        return int(signals.SIGTERM)
    if isinstance(signal, str) and not signal.isdigit():
        name = signal.upper()
        try:
            return int(signals.Signals[name if name.startswith("SIG") else f"SIG{name}"])
        except KeyError:
            raise ValueError(f"there is no signal {signal!r}") from None
    return int(signals.Signals(int(signal)))


def _texts(values: Any) -> tuple[str, ...]:
    if isinstance(values, (list, tuple, set, frozenset)):
        return tuple(str(value) for value in values)
    return (str(values),)
