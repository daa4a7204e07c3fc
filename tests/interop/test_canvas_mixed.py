"""Canvases whose producer, steps and successors are of both libraries: each step goes to the worker that it names."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from tests.interop.peers import OURS, STOCK, Market, other

pytest.importorskip("celery")

callers = pytest.mark.parametrize("caller", [OURS, STOCK])


def library(caller: str) -> Any:
    return importlib.import_module("celeriac" if caller == OURS else "celery")


@callers
@pytest.mark.parametrize("first", [OURS, STOCK])
def test_a_chain_that_changes_sides_at_each_step(market: Market, caller: str, first: str) -> None:
    add = market.client[caller].add
    queues = [first, other(first)] * 10
    chain = library(caller).chain(add.s(0, 0).set(queue=first), *(add.s(1).set(queue=queue) for queue in queues))
    result = chain.apply_async()
    assert result.get(timeout=30) == 20
    steps = [one.get(timeout=5) for one in (result, result.parent, result.parent.parent)]
    assert steps == [20, 19, 18]


@callers
@pytest.mark.parametrize("first", [OURS, STOCK])
def test_groups_within_chains(market: Market, caller: str, first: str) -> None:
    add, group = market.client[caller].add, library(caller).group
    here, there = {"queue": first}, {"queue": other(first)}
    inner = add.s(10).set(**here) | add.s(100).set(**there)
    result = (add.s(1, 1).set(**here) | group(add.s(1).set(**there), inner, add.s(3).set(**here))).apply_async()
    assert result.get(timeout=30) == [3, 112, 5]


@callers
@pytest.mark.parametrize("first", [OURS, STOCK])
def test_callbacks_that_are_canvases(market: Market, caller: str, first: str) -> None:
    shop, lib = market.client[caller], library(caller)
    here, there = {"queue": first}, {"queue": other(first)}
    last = shop.echo.s("last").set(task_id=f"last-{caller}-{first}", **here)
    callback = lib.chain(shop.add.s(5).set(**there), last)
    shop.add.apply_async((1, 1), link=callback, **here)
    assert shop.app.AsyncResult(f"last-{caller}-{first}").get(timeout=30) == [[7, "last"], {}]


@callers
@pytest.mark.parametrize("runner", [OURS, STOCK])
def test_maps_and_chunks(market: Market, caller: str, runner: str) -> None:
    shop = market.client[caller]
    assert shop.echo.map([1, 2]).apply_async(queue=runner).get(timeout=30) == [[[1], {}], [[2], {}]]
    assert shop.add.starmap([(1, 2), (3, 4)]).apply_async(queue=runner).get(timeout=30) == [3, 7]
    assert shop.add.chunks([(1, 2), (3, 4), (5, 6)], 2).group().apply_async(queue=runner).get(timeout=30) == [
        [3, 7],
        [11],
    ]


@callers
@pytest.mark.parametrize("first", [OURS, STOCK])
def test_a_chord_with_members_and_body_on_both_sides(market: Market, caller: str, first: str) -> None:
    add, echo, lib = market.client[caller].add, market.client[caller].echo, library(caller)
    here, there = {"queue": first}, {"queue": other(first)}
    members = [add.s(1, 1).set(**here), add.s(2, 2).set(**there)]
    result = lib.chord(members, echo.s().set(**there)).apply_async()
    assert result.get(timeout=30) == [[[2, 4]], {}]
