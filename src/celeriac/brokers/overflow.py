"""Limits of queues for producers: who is refused, and what is said. Pure; the engine counts and acts, in one step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import CeleriacError, QueueFull
from ..wire import envelope
from .base import Outgoing, Settlement, Verdict
from .bounds import Bounds

#: Messages that make room in one step beside as many as come: a lower limit than before is reached by and by.
_PORTION = 1000


def adding(bounds: Bounds, messages: Iterable[Outgoing], *, delayed: bool = False) -> dict[str, int]:
    """How many more would stand in each queue that has a limit. `delayed`: what is due later stands elsewhere."""
    more: dict[str, int] = {}
    for outgoing in messages:
        if bounds.length_of(outgoing.queue) is not None and not (delayed and outgoing.due is not None):
            more[outgoing.queue] = more.get(outgoing.queue, 0) + 1
    return more


def surplus(bounds: Bounds, more: Mapping[str, int], lengths: Mapping[str, int]) -> dict[str, int]:
    """How many of the oldest have to make room, by queue. Raises: QueueFull where none has to."""
    over: dict[str, int] = {}
    for queue, count in more.items():
        limit = bounds.length_of(queue)
        if limit is None or lengths[queue] + count <= limit:
            continue
        if not bounds.drop_oldest:
            raise full(queue, lengths[queue], count, limit)
        over[queue] = min(lengths[queue] + count - limit, count + _PORTION)
    return over


def full(queue: str, length: int, count: int, limit: int) -> QueueFull:
    more = "one more does" if count == 1 else f"{count} more do"
    return QueueFull(
        f"queue {queue!r} holds {length} messages and its queue_max_length is {limit}: {more} not fit",
        queue=queue,
        length=length,
        limit=limit,
        hopeless=count > limit,
    )


def detail(limit: int) -> str:
    return f"queue_max_length is {limit}: the oldest made room for a newer one"


def dropped(payload: bytes, limit: int) -> Settlement:
    """The reason of its dead letter."""
    task = task_id = ""
    try:
        headers = envelope.decode(payload).headers
        # Half a character, which JSON can name, is taken by no store, and must not keep others from publishing.
        said = [str(headers.get(name) or "").encode("utf-8", "replace").decode() for name in ("task", "id")]
        task, task_id = said
    except (CeleriacError, RecursionError):
        pass
    facts = {"reason": "overflow", "detail": detail(limit), "task": task, "task_id": task_id}
    return Settlement(None, Verdict.DEAD, **facts)  # type: ignore[arg-type]
