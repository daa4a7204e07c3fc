"""Whatever is built, and whatever fails in it: once the queue is empty all has ended, with a value or an error."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import celeriac
from celeriac import GroupResult
from tests.interop.test_canvas_eager import Side, canvases
from tests.unit.execution.test_canvas_runs import Bench


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Most of these fail somewhere, which is logged."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(canvases)
def test_everything_ends(plan: Any) -> None:
    bench = Bench()
    side = Side(celeriac, bench.app)
    result = side.build(plan).apply_async()
    bench.work()
    assert result.ready()
    for node in singles(result):
        assert node.ready()
    if succeeds(side, plan):
        json.dumps(result.get(timeout=1))
    bench.app.close()


def succeeds(side: Side, plan: Any) -> bool:
    return not isinstance(side.run(plan), tuple)


def singles(result: Any) -> Iterator[Any]:
    """The results of all calls that this one stands for or waits for."""
    if result is None:
        return
    if isinstance(result, GroupResult):
        for member in result:
            yield from singles(member)
    else:
        yield result
    yield from singles(result.parent)
