"""Whatever is built, and whatever fails in it: once the queue is empty all has ended, as an eager run ends."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import celeriac
import celeriac.exceptions
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
    expected = side.run(plan)
    if isinstance(expected, tuple):
        with pytest.raises((ValueError, celeriac.exceptions.ChordError)):
            result.get(timeout=1)
    elif result is not None:
        assert flat(result.get(timeout=1)) == flat(expected)
    bench.app.close()


def flat(value: Any) -> list[Any]:
    """What a chord gets of a member that ends in a group is not nested in a worker, and is in an eager run."""
    return [one for part in value for one in flat(part)] if isinstance(value, (list, tuple)) else [value]


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
