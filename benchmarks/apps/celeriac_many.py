"""The application for celeriac with a coroutine: thousands at a time in one process."""

from __future__ import annotations

import asyncio
import time

from benchmarks.stamps import MARK

from . import bodies
from .celeriac_app import app, enqueue, send_many, trip

__all__ = ["app", "doze", "enqueue", "send_many", "trip"]


@app.task(name="bench.doze")
async def doze(number: int) -> int:
    """Waits a second and tells its start and its end."""
    bodies.append(MARK.pack(number, 1, time.monotonic()))
    await asyncio.sleep(1)
    bodies.append(MARK.pack(number, 2, time.monotonic()))
    return number
