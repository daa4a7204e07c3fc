"""`Patience`: how long a wait for a result bears with a backend that is away.

A server that restarts must not end every `get()` in sight; one that is gone for good must not hold them for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from ..errors import OperationalError
from ..foundation import safe_points
from .waiting import Closed

#: Seconds between tries; each try itself takes the backend's connect timeout where nothing answers.
PAUSE = 0.5
#: Seconds without an answer that a wait with no timeout of its own bears.
LONGEST = 60.0


class Patience:
    """Of one wait. `deadline` is an instant of the monotonic clock, or None."""

    def __init__(self, deadline: float | None, rest: Callable[[float], None] = sleep) -> None:
        self._deadline = deadline
        self._rest = rest
        self._away_since: float | None = None

    def answered(self) -> None:
        """The backend is there."""
        self._away_since = None

    def bear(self, error: OperationalError) -> None:
        """Pause, and return if it is worth trying again. Raises: `error`, if not; what a body is owed."""
        now = monotonic()
        if self._away_since is None:
            self._away_since = now
        limit = self._away_since + LONGEST if self._deadline is None else self._deadline
        if isinstance(error, Closed) or now + PAUSE >= limit:
            raise error
        safe_points.look()
        self._rest(PAUSE)
