"""Which limits a run has, and which a worker refuses to start with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from celeriac import Celery
from celeriac.errors import ImproperlyConfigured
from celeriac.execution.limits import Limits, check, decide, seconds


def of(soft: Any = None, hard: Any = None) -> Any:
    return SimpleNamespace(soft_time_limit=soft, time_limit=hard, name="t")


def test_the_message_counts_before_the_task_and_the_task_before_the_settings() -> None:
    settings = Limits(soft=1.0, hard=2.0)
    assert decide(of(), of(), settings) == Limits(1.0, 2.0)
    assert decide(of(), of(soft=3), settings) == Limits(3.0, 2.0)
    assert decide(of(hard=9), of(soft=3, hard=4), settings) == Limits(3.0, 9.0)
    assert decide(of(), of(), Limits()) is None


def test_limits_that_are_odd() -> None:
    assert [seconds(value) for value in (None, 0, 2, "2.5", -1, float("inf"))] == [0.0, 0.0, 2.0, 2.5, 1e-3, 0.0]
    with pytest.raises(ValueError, match="no number"):
        seconds(float("nan"))


def test_a_worker_does_not_start_with_limits_that_it_cannot_keep() -> None:
    with Celery("limits", set_as_current=False) as app:
        check("solo", app.conf, [of(soft=3)])
        with pytest.raises(ImproperlyConfigured, match=r"time_limit=3 of t\. Use -P prefork, or soft_time_limit"):
            check("solo", app.conf, [of(hard=3)])
        with pytest.raises(ImproperlyConfigured, match="time_limit of t is 'soon', not a number of seconds"):
            check("prefork", app.conf, [of(hard="soon")])
        app.conf.task_time_limit = 5
        check("prefork", app.conf, [])
        with pytest.raises(ImproperlyConfigured, match="task_time_limit=5"):
            check("solo", app.conf, [])
