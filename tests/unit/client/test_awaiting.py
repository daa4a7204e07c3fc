"""Coroutines that wait: one watch and one thread for all of them, in however many loops, and nothing left behind."""

from __future__ import annotations

import asyncio
import builtins
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from celeriac.client.app import Celery
from celeriac.client.eager_result import EagerResult
from celeriac.client.result import AsyncResult, denied_join_result
from celeriac.client.result_set import GroupResult
from celeriac.errors import ImproperlyConfigured, OperationalError, TimeoutError
from celeriac.wire import outcome
from celeriac.wire.message import Record
from tests.processes import until
from tests.servers import RedisServer

SOON = 20.0


class Broken(Exception):
    """A user's own."""


def store(app: Celery, state: str, *results: tuple[str, Any]) -> None:
    app.backend.put_many(
        [Record(i, outcome.document(i, state, value), final=state != "PROGRESS") for i, value in results]
    )


def watched(app: Celery) -> int:
    """How many ids are watched, by our account and by the engine's."""
    watch: Any = app.waits._watch
    ours = len(app.waits._waits)
    theirs = len(getattr(watch, "_ids", None) or getattr(watch, "_watched", ()))
    assert ours == theirs or ours == 0 or theirs == 0, (ours, theirs)
    return max(ours, theirs)


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Celery]:
    """An app on each of the engines."""
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url()
    else:
        url = f"memory://{uuid4()}" if request.param == "memory" else f"sqlite:///{tmp_path / 'q.db'}"
    with Celery("proj", broker=url, backend=url, set_as_current=False) as made:
        yield made


def test_results_and_groups_are_awaited_and_leave_nothing(place: Celery) -> None:
    names = [str(uuid4()) for _ in range(6)]
    first, second, bad, slow, *_ = (place.AsyncResult(name) for name in names)

    async def story() -> None:
        store(place, "SUCCESS", (names[0], 4))
        assert await first == 4
        waiting = asyncio.create_task(second.aget(timeout=SOON))
        await settled(lambda: watched(place) == 1)
        store(place, "PROGRESS", (names[1], {"current": 1}))
        store(place, "SUCCESS", (names[1], [5]))
        assert await waiting == [5]
        store(place, "FAILURE", (names[2], Broken("oh")))
        with pytest.raises(Broken, match="oh"):
            await bad
        with pytest.raises(TimeoutError):
            await slow.aget(timeout=0.01)
        with pytest.raises(TimeoutError):
            await slow.aget(timeout=0)
        cancelled = asyncio.ensure_future(slow.aget())
        await settled(lambda: watched(place) == 1)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await settled(lambda: watched(place) == 0)
        group = GroupResult("g", [place.AsyncResult(name) for name in names[4:]], app=place)
        whole, came = asyncio.ensure_future(group.aget(timeout=SOON)), []
        store(place, "SUCCESS", (names[5], "b"))
        async for member in GroupResult("g", [place.AsyncResult(name) for name in names[4:]], app=place):
            came.append(member.result)
            store(place, "SUCCESS", (names[4], "a"))
        assert came == ["b", "a"]
        assert await whole == ["a", "b"]
        await settled(lambda: watched(place) == 0)

    asyncio.run(story())


def test_ten_thousand_cost_one_watch_and_one_thread(app: Celery) -> None:
    opened = []
    real = app.backend.watch
    app.backend.watch = lambda: opened.append(1) or real()  # type: ignore[method-assign]
    names = [str(n) for n in range(10_000)]

    async def story() -> None:
        threads = threading.active_count()
        waiting = [asyncio.ensure_future(app.AsyncResult(name).aget()) for name in names]
        await settled(lambda: watched(app) == len(names))
        assert (len(opened), threading.active_count() - threads) == (1, 1)
        for one in waiting[5_000:]:
            one.cancel()
        await settled(lambda: watched(app) == 5_000)
        store(app, "SUCCESS", *((name, int(name)) for name in names[:5_000]))
        assert await asyncio.gather(*waiting[:5_000]) == list(range(5_000))
        await settled(lambda: watched(app) == 0)
        assert not app.waits.crowd._inboxes

    asyncio.run(story())
    assert opened == [1]


def test_loops_in_several_threads_and_a_thread_that_gets(app: Celery) -> None:
    got: list[Any] = []

    async def wait() -> None:
        got.extend(await asyncio.gather(*(app.AsyncResult(f"x{n}").aget(timeout=SOON) for n in range(20))))

    threads = [threading.Thread(target=lambda: asyncio.run(wait())) for _ in range(4)]
    threads.append(threading.Thread(target=lambda: got.append(app.AsyncResult("x19").get(timeout=SOON))))
    for thread in threads:
        thread.start()
    until(lambda: len(app.waits._waits) == 20 and len(app.waits._waits["x19"]) == 2)
    store(app, "SUCCESS", *((f"x{n}", n) for n in range(20)))
    for thread in threads:
        thread.join(SOON)
    assert sorted(got) == sorted([*range(20)] * 4 + [19])
    until(lambda: watched(app) == 0)


def test_an_iterator_left_half_read_or_with_its_loop_leaves_the_watch(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celeriac.client.awaiting._LOOK", 0.1)
    group = GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")], app=app)
    store(app, "SUCCESS", ("a", 1))

    async def half() -> None:
        async for _ in group:
            break
        await settled(lambda: watched(app) == 0)
        steps = aiter(group)
        await anext(steps)
        with pytest.raises(builtins.TimeoutError):
            await asyncio.wait_for(anext(steps), 0.01)
        store(app, "SUCCESS", ("b", 2))
        assert (await anext(steps)).result == 2  # a step that was cancelled is taken again

    asyncio.run(half())

    loop = asyncio.new_event_loop()
    other = GroupResult("h", [app.AsyncResult("never")], app=app)
    held: list[Any] = []

    async def begin() -> None:
        held.append(aiter(other))

    loop.run_until_complete(begin())
    until(lambda: watched(app) == 1)
    loop.close()
    held.clear()
    gc.collect()
    until(lambda: watched(app) == 0)


def test_errors_reach_whoever_waits(app: Celery) -> None:
    async def closed() -> None:
        waiting = asyncio.ensure_future(app.AsyncResult("x").aget())
        await settled(lambda: watched(app) == 1)
        await asyncio.to_thread(app.waits.close)
        with pytest.raises(OperationalError, match="closed"):
            await waiting

    asyncio.run(closed())

    async def parent() -> None:
        child = app.AsyncResult("child", parent=app.AsyncResult("p"))
        waiting = asyncio.ensure_future(child.aget(timeout=SOON))
        store(app, "FAILURE", ("p", Broken("first")))
        with pytest.raises(Broken, match="first"):
            await waiting

    asyncio.run(parent())

    with Celery("none", broker=app.conf.broker_url, set_as_current=False, backend="disabled://") as without:

        async def nowhere() -> None:
            with pytest.raises((NotImplementedError, ImproperlyConfigured)):
                await without.AsyncResult("x").aget(timeout=SOON)

        asyncio.run(nowhere())

    async def inside() -> None:
        with denied_join_result(), pytest.raises(RuntimeError, match=r"Never call result.get\(\) within a task"):
            await app.AsyncResult("x")

    asyncio.run(inside())


def test_calling_from_a_coroutine(app: Celery) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    async def story() -> None:
        many = await asyncio.gather(*(add.adelay(n, n) for n in range(50)))
        assert len({result.id for result in many}) == 50
        named = await add.aapply_async((1,), {"y": 2}, task_id="mine", countdown=60)
        assert (type(named), named.id) == (AsyncResult, "mine")
        with pytest.raises(TypeError):
            await add.adelay(1)
        app.conf.task_always_eager = True
        here = await add.adelay(2, 2)
        assert isinstance(here, EagerResult)
        assert await here == 4

    asyncio.run(story())
    assert app.broker.count(["celery"])["celery"].ready == 50
