"""`self.progress` and who reads it: seldom written, the newest always told, nothing after the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from time import monotonic
from typing import Any

import celery
import pytest

from celeriac.client import current, reporting
from celeriac.client.app import Celery
from celeriac.client.following import Progress
from celeriac.client.request import Context
from celeriac.client.task import Task
from celeriac.errors import OperationalError, TimeoutError
from celeriac.wire import outcome
from celeriac.wire.message import Record
from tests.processes import until
from tests.servers import RedisServer

SOON = 20.0


@pytest.fixture
def task(app: Celery) -> Task[..., Any]:
    @app.task(bind=True)
    def f(self: Task[..., Any]) -> None:
        self.progress(1, 2)

    return f  # type: ignore[no-any-return]


@pytest.fixture
def written(app: Celery) -> list[Any]:
    """(instant, meta) of what is written."""
    writes: list[Any] = []
    real = app.backend.put_many

    def put_many(records: Any) -> None:
        writes.extend((monotonic(), outcome.read(record.document).result) for record in records)
        real(records)

    app.backend.put_many = put_many  # type: ignore[method-assign]
    return writes


@contextmanager
def run(task: Task[..., Any], task_id: str = "x", **fields: Any) -> Iterator[Context]:
    request = Context(id=task_id, called_directly=False, **fields)
    token = current.push(task, request)
    try:
        yield request
    finally:
        current.pop(token)


def test_ten_writes_a_second_and_the_newest_is_told(app: Celery, task: Task[..., Any], written: list[Any]) -> None:
    result = app.AsyncResult("x")
    assert result.progress is None
    with run(task) as request:
        began, said = monotonic(), 0
        while monotonic() < began + 0.55:
            said += 1
            task.progress(said, 10**9, f"number {said}")
        last = Progress(said, 10**9, f"number {said}")
        until(lambda: result.progress == last)
        took = monotonic() - began
        reporting.ended(request)
    assert said > 100
    assert 2 <= len(written) <= 10 * took + 2
    assert all(b[0] - a[0] >= 0.09 for a, b in pairwise(written))
    assert written[-1][1] == {"current": said, "total": 10**9, "message": f"number {said}"}


def test_nothing_is_written_after_the_end(app: Celery, task: Task[..., Any], written: list[Any]) -> None:
    with run(task) as request:
        task.progress(1)
        until(lambda: len(written) == 1)
        task.progress(2)  # too soon: it is put by
        reporting.ended(request)
        app.backend.put_many([Record("x", outcome.document("x", "RETRY", ValueError("again")), final=False)])
        task.progress(3)  # a new run, so far as anybody knows
        until(lambda: app.AsyncResult("x").progress == Progress(3))
        reporting.ended(request)
    assert [meta["current"] for _, meta in written if "current" in meta] == [1, 3]
    with run(task, "y") as request:
        task()  # it calls itself: the same run, ended with it
        assert request._report is not None
        reporting.ended(request)


def test_where_nobody_could_read_it_nothing_is_done(app: Celery, task: Task[..., Any], written: list[Any]) -> None:
    task()  # a plain call
    task.apply()
    with run(task, ignore_result=True) as request:
        task.progress(1)
        assert request._report is None
    with run(task), pytest.raises((TypeError, ValueError)):
        task.progress("much")  # type: ignore[arg-type]
    assert not written


def test_a_backend_that_is_away_neither_fails_nor_loses_it(
    app: Celery, task: Task[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "_AGAIN", 0.05)
    real, failures = app.backend.put_many, [1, 2]

    def put_many(records: Any) -> None:
        if failures:
            failures.pop()
            raise OperationalError("away")
        real(records)

    app.backend.put_many = put_many  # type: ignore[method-assign]
    with run(task) as request:
        task.progress(7)
        until(lambda: app.AsyncResult("x").progress == Progress(7))
        reporting.ended(request)


def test_progress_is_iterated_until_the_end(app: Celery, task: Task[..., Any]) -> None:
    result = app.AsyncResult("x")
    with pytest.raises(TimeoutError):
        list(result.iter_progress(timeout=0.05))
    read: list[Progress] = []
    reader = threading.Thread(target=lambda: read.extend(result.iter_progress(timeout=SOON)))
    reader.start()
    with run(task) as request:
        task.progress(1, 4, "one")
        until(lambda: read == [Progress(1, 4, "one")])
        task.progress(2, 4)
        until(lambda: len(read) == 2)
        reporting.ended(request)
    app.backend.put_many([Record("x", outcome.document("x", "SUCCESS", "done"))])
    reader.join(SOON)
    assert read == [Progress(1, 4, "one"), Progress(2, 4, "")]
    assert [one.fraction for one in read] == [0.25, 0.5]
    assert list(result.iter_progress()) == []
    assert not app.waits._waits


def test_a_stock_client_reads_it(redis_server: RedisServer) -> None:
    url = redis_server.url()
    with Celery("proj", broker=url, backend=url, set_as_current=False) as ours:

        @ours.task(bind=True)
        def f(self: Task[..., Any]) -> None: ...

        stock = celery.Celery("stock", broker=url, backend=url, set_as_current=False)
        with run(f, "told") as request:
            f.progress(3, 10, "third")
            until(lambda: stock.AsyncResult("told").state == "PROGRESS")
            reporting.ended(request)
        assert stock.AsyncResult("told").info == {"current": 3, "total": 10, "message": "third"}
        stock.close()
