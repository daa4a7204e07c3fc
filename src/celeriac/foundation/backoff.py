"""How long to wait before trying again. Pure arithmetic and one throw of the dice; it never sleeps."""

from __future__ import annotations

import random


def exponential(factor: float, retries: int, maximum: float, jitter: bool = False) -> int | float:
    """Seconds before the try that follows `retries` failed retries: `factor * 2**retries`, at most `maximum`.

    With `jitter` a whole number is drawn evenly between nothing and that ("full jitter"), so that tasks that failed
    together do not come back together. The numbers are Celery's (guide: Tasks, "Automatic retry for known exceptions").
    """
    # 2.0**64 is far above any maximum; without the bound a task with unlimited retries computes ever larger integers.
    wait: int | float = min(maximum, factor * 2.0 ** min(retries, 64))
    if jitter and wait > 0:
        wait = random.randrange(int(wait) + 1)
    return max(0, int(wait) if wait == int(wait) else wait)
