"""Random canvases run eagerly by real Celery and by us: the same values or the same error; and as JSON they are the
same, there and back. Where the two differ, and why, is in docs/canvas.md."""

from __future__ import annotations

import json
import warnings
from typing import Any

import celery
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import celeriac
from celeriac import Signature


class Side:
    """A library with an app of two tasks."""

    def __init__(self, library: Any, app: Any) -> None:
        self.library, self.app = library, app

        @app.task(name="note", shared=False)
        def note(*args: Any) -> Any:
            return list(args)

        @app.task(name="bad", shared=False)
        def bad(*args: Any) -> Any:
            raise ValueError(f"{len(args)} arguments")

        @app.task(name="swap", shared=False, bind=True)
        def swap(self: Any, *args: Any) -> Any:
            return self.replace(app.tasks["note"].si("swapped", len(args)))

    def build(self, plan: Any) -> Any:
        """The canvas of a plan."""
        kind, *parts = plan
        if kind in ("note", "bad", "swap"):
            signature = self.app.tasks[kind].signature((parts[0],), immutable=parts[1])
            return signature
        if kind == "chord":
            return self.library.chord([self.build(part) for part in parts[0]], self.build(parts[1]))
        if kind == "pipe":
            return self.build(parts[0]) | self.build(parts[1])
        return getattr(self.library, kind)([self.build(part) for part in parts[0]])

    def run(self, plan: Any) -> Any:
        """What it comes to."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = self.build(plan).apply()
                return None if result is None else plain(result.get(disable_sync_subtasks=False))
            except (ValueError, TypeError) as error:
                return type(error).__name__, str(error)


def plain(value: Any) -> Any:
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


STOCK = Side(celery, celery.Celery("stock", broker="memory://", backend="cache+memory://", set_as_current=False))
OURS = Side(celeriac, celeriac.Celery("ours", broker="memory://eager", backend="memory://eager", set_as_current=False))

calls = st.tuples(st.sampled_from(["note", "note", "note", "swap", "bad"]), st.integers(0, 9), st.booleans())


def combined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("chain"), some),
        st.tuples(st.just("group"), some),
        st.tuples(st.just("chord"), some, inner),
        st.tuples(st.just("pipe"), inner, inner),
    )


def layers(depth: int) -> st.SearchStrategy[Any]:
    return calls if depth == 0 else st.one_of(layers(depth - 1), combined(layers(depth - 1)))


canvases = layers(3)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(canvases)
def test_the_same_ends(plan: Any) -> None:
    assert OURS.run(plan) == STOCK.run(plan)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(canvases)
def test_the_same_data_there_and_back(plan: Any) -> None:
    mine = OURS.build(plan)
    text = json.dumps(dict(mine))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert json.loads(text) == json.loads(json.dumps(STOCK.build(plan)))
    assert Signature.from_dict(json.loads(text), app=OURS.app) == mine


def test_an_eager_app_runs_what_it_is_sent() -> None:
    app = celeriac.Celery("eager", broker="memory://e", backend="memory://e", set_as_current=False)
    app.conf.task_always_eager = True
    side = Side(celeriac, app)
    plan = ("pipe", ("group", [("note", 1, False), ("note", 2, False)]), ("note", 3, False))
    assert plain(side.build(plan).delay().get()) == plain(side.build(plan).apply().get()) == [[[1], [2]], 3]


@pytest.fixture(autouse=True, scope="module")
def current() -> Any:
    STOCK.app.set_current()
    yield
    OURS.app.close()
