"""The background work of a small shop. Run it: celeriac -A shop worker -l info"""

from __future__ import annotations

import time
from typing import Any

from celeriac import Celery

app = Celery("shop")


@app.task
def send_sms(number: str, text: str) -> str:
    """Ordinary work: takes a moment, returns something."""
    time.sleep(0.3)
    return f"sent to {number}: {text}"


@app.task(bind=True, max_retries=5)
def charge(self: Any, order: int) -> str:
    """Fails twice, and is tried again a second later each time."""
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("the bank does not answer"), countdown=1)
    return f"order {order} paid at try {self.request.retries + 1}"


@app.task
def refund(order: int) -> str:
    """Fails for good: the error comes back to whoever asks for the result."""
    raise ValueError(f"order {order} was never paid")


@app.task(bind=True)
def print_labels(self: Any, count: int) -> str:
    """Takes longer, and says how far it is."""
    for done in range(1, count + 1):
        time.sleep(0.15)
        self.progress(done, count)
    return f"{count} labels printed"
