"""Whether results may be waited for here.

Inside of a task they may not: all slots of a worker could end up waiting for tasks that no slot is left to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_blocks_everywhere = False
_blocks_here: ContextVar[bool | None] = ContextVar("celeriac_join_will_block", default=None)


def task_join_will_block() -> bool:
    """Whether waiting for a result is refused here."""
    here = _blocks_here.get()
    return _blocks_everywhere if here is None else here


def set_task_join_will_block(blocks: bool) -> None:
    """Refuse, or no longer refuse, to wait for results anywhere in this process: a worker does, for its tasks."""
    global _blocks_everywhere
    _blocks_everywhere = blocks


def assert_will_not_block() -> None:
    """Raises: RuntimeError where waiting for a result is refused."""
    if task_join_will_block():
        raise RuntimeError(
            "Never call result.get() within a task!\nSee https://docs.celeryq.dev/en/latest/userguide/tasks.html"
            "#avoid-launching-synchronous-subtasks\n"
        )


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Inside of it results may be waited for, whatever the danger."""
    token = _blocks_here.set(False)
    try:
        yield
    finally:
        _blocks_here.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Inside of it results may not be waited for."""
    token = _blocks_here.set(True)
    try:
        yield
    finally:
        _blocks_here.reset(token)
