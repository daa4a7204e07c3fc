"""What an app bounds in its broker: values from its settings, given to every adapter when it is opened."""

from __future__ import annotations

from msgspec import Struct


class Bounds(Struct, frozen=True):
    """Each is enforced by the adapter where something is added, in the step that adds it, with no scan."""

    #: Revocations kept, and for how many seconds; the oldest go first.
    revokes_max: int = 50_000
    revokes_expire: float = 30 * 86400.0
    #: The same of dead letters, of each queue.
    dead_letter_max: int = 100_000
    dead_letter_expires: float = 90 * 86400.0
