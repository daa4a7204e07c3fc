"""Queues on a Redis server, in the keys where kombu and Celery look for them: `broker.py` is the port, `layout.py` the
keys.

Every change of state is one Lua file here, one atomic step of the server; Python packs its arguments and reads its
answer.
"""

from __future__ import annotations

from ..base import Opened
from .broker import RedisBroker

__all__ = ["RedisBroker", "factory"]


def factory(opened: Opened) -> RedisBroker:
    """See `brokers.registry`."""
    return RedisBroker(opened)
