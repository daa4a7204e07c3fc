"""The memory broker, reference of the port: queues inside one process, seen by no other."""

from __future__ import annotations

from ..base import Opened
from .broker import MemoryBroker

__all__ = ["MemoryBroker", "factory"]


def factory(opened: Opened) -> MemoryBroker:
    """See `registry`."""
    return MemoryBroker(opened)
