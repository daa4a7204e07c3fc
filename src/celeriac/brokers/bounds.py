"""What an app bounds in its broker: values from its settings, given to every adapter when it is opened."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Bounds(Struct, frozen=True):
    """Each is enforced by the adapter where something is added, in the step that adds it, with no scan."""

    #: Revocations kept, and for how many seconds; the oldest go first.
    revokes_max: int = 50_000
    revokes_expire: float = 30 * 86400.0
    #: The same of dead letters, of each queue.
    dead_letter_max: int = 100_000
    dead_letter_expires: float = 90 * 86400.0
    #: Messages that producers may have waiting in a queue: by name, and for all others (None: no limit). What waits in
    #: the list or under suspicion counts, what is put off or in flight does not.
    queue_lengths: Mapping[str, int] = {}
    queue_length: int | None = None
    #: Beyond it the oldest are set aside as dead letters; else QueueFull is raised.
    drop_oldest: bool = False

    @property
    def any_length(self) -> bool:
        """Some queue has a limit."""
        return bool(self.queue_lengths) or self.queue_length is not None

    def length_of(self, queue: str) -> int | None:
        return self.queue_lengths.get(queue, self.queue_length)
