"""The stack of running tasks: what is current where, and what it costs."""

from __future__ import annotations

import asyncio
import threading
import timeit
from typing import Any, cast

from celeriac.client import current
from celeriac.client.request import Context
from celeriac.client.task import Task


def a_task() -> Task[..., Any]:
    return cast("Task[..., Any]", object())


def test_push_and_pop() -> None:
    outer, inner = a_task(), a_task()
    first, second = Context(id="1"), Context(id="2")
    one = current.push(outer, first)
    two = current.push(inner, second)

    assert current.get_current_task() is inner
    assert current.request_of(inner) is second
    assert current.request_of(outer) is first
    current.pop(two)
    assert current.get_current_task() is outer
    assert current.request_of(inner) is None
    current.pop(one)
    assert current.running() is None


def test_the_worker_task_is_below_direct_calls() -> None:
    by_worker, called = a_task(), a_task()
    one = current.push(by_worker, Context(called_directly=False))
    two = current.push(called, Context())

    assert current.get_current_task() is called
    assert current.get_current_worker_task() is by_worker
    current.pop(two)
    current.pop(one)
    assert current.get_current_worker_task() is None


def test_a_new_thread_runs_nothing() -> None:
    seen: list[Any] = []
    token = current.push(a_task(), Context())
    thread = threading.Thread(target=lambda: seen.append(current.get_current_task()))
    thread.start()
    thread.join()
    current.pop(token)

    assert seen == [None]


def test_coroutines_have_their_own() -> None:
    outer = a_task()

    async def run(task: Task[..., Any], meet: asyncio.Barrier) -> bool:
        inherited = current.get_current_task() is outer
        token = current.push(task, Context())
        await meet.wait()
        mine = current.get_current_task() is task
        current.pop(token)
        return inherited and mine

    async def main() -> list[bool]:
        meet = asyncio.Barrier(2)
        return await asyncio.gather(run(a_task(), meet), run(a_task(), meet))

    token = current.push(outer, Context())
    try:
        assert asyncio.run(main()) == [True, True]
    finally:
        current.pop(token)


def test_pushing_is_cheap() -> None:
    """0.25 us here; the bound is loose, it is to catch a change of kind."""
    task, request = a_task(), Context()
    push, pop = current.push, current.pop

    best = min(timeit.repeat(lambda: pop(push(task, request)), number=20_000, repeat=5)) / 20_000

    assert best < 3e-6
