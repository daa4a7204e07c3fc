"""The plan: what the app's settings come to before anything is started."""

from __future__ import annotations

from datetime import timedelta

import pytest

from celeriac import Celery
from celeriac.client.opened import bounds_of
from celeriac.errors import ImproperlyConfigured
from celeriac.worker.loaded import plan_of
from celeriac.worker.options import WorkerOptions
from celeriac.worker.wiring import bare_app


@pytest.mark.parametrize("lease", [0, -1, 86_400, "soon"])
def test_a_lease_that_cannot_be_kept_is_refused_at_the_start(lease: object) -> None:
    with Celery("plan", broker="memory://", worker_lease=lease, set_as_current=False) as app:
        with pytest.raises(ImproperlyConfigured, match="worker_lease"):
            plan_of(app, WorkerOptions())


def test_the_supervisor_is_told_of_tasks_that_differ_from_the_settings() -> None:
    with Celery("plan", broker="memory://", task_acks_late=True, set_as_current=False) as app:
        app.task(name="plain")(print)
        app.task(name="stubborn", max_retries=None, reject_on_worker_lost=True)(print)
        plan = plan_of(app, WorkerOptions())
    assert plan.policy.acks_late is True
    assert "plain" not in plan.policies
    assert (plan.policies["stubborn"].max_retries, plan.policies["stubborn"].reject_on_worker_lost) == (None, True)


@pytest.mark.parametrize(
    "settings, options, slots",
    [
        ({}, {"pool": "threads", "concurrency": 3}, ("threads", 1, 3)),
        ({"worker_pool": "asyncio"}, {"processes": 2, "concurrency": 100}, ("asyncio", 2, 100)),
        ({"worker_pool": "gevent", "worker_concurrency": 50}, {}, ("gevent", 1, 50)),
        ({"worker_concurrency": 5}, {"pool": "solo"}, ("solo", 1, 1)),
        ({"worker_pool": "processes", "worker_concurrency": 5}, {}, ("prefork", 5, 1)),
        ({}, {"processes": 3}, ("prefork", 3, 1)),
    ],
)
def test_processes_and_lanes(
    settings: dict[str, object], options: dict[str, object], slots: tuple[str, int, int]
) -> None:
    with Celery("plan", broker="memory://", set_as_current=False, **settings) as app:
        plan = plan_of(app, WorkerOptions(**options))
    assert (plan.pool, plan.processes, plan.lanes) == slots
    assert plan.concurrency == slots[1] * slots[2]


def test_a_pool_class_of_ones_own_is_refused() -> None:
    with Celery("plan", broker="memory://", worker_pool="mine.pools:Pool", set_as_current=False) as app:
        with pytest.raises(ImproperlyConfigured, match=r"mine\.pools:Pool.*choose prefork"):
            plan_of(app, WorkerOptions())


def test_a_pool_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with Celery("plan", broker="memory://", set_as_current=False) as app:
        with pytest.raises(ImproperlyConfigured, match=r"celeriac\[gevent\]"):
            plan_of(app, WorkerOptions(pool="gevent"))


def test_the_supervisors_app_has_its_times_in_seconds() -> None:
    """Its settings travel as JSON, which would make a text of a timedelta."""
    times = {"result_expires": timedelta(hours=1), "dead_letter_expires": timedelta(days=2)}
    with Celery("plan", broker="memory://", set_as_current=False, **times) as app:
        plan = plan_of(app, WorkerOptions())
    with bare_app(plan) as bare:
        bounds = bounds_of(bare.conf)
        assert (bare.conf.result_expires, bounds.dead_letter_expires) == (3600, 2 * 86400)


def test_a_second_chance_is_told_as_seconds_and_what_is_no_time_is_refused() -> None:
    with Celery("plan", broker="memory://", set_as_current=False) as app:
        app.task(name="patient", shared=False, dead_letter_requeue_after=timedelta(minutes=10))(print)
        assert plan_of(app, WorkerOptions()).policies["patient"].dead_letter_requeue_after == 600
        app.task(name="odd", shared=False, dead_letter_requeue_after="soon")(print)
        with pytest.raises(ImproperlyConfigured, match=r"task odd: .*dead_letter_requeue_after"):
            plan_of(app, WorkerOptions())


@pytest.mark.parametrize(
    "settings, options, said",
    [
        ({"worker_max_memory": "1G"}, {"pool": "solo", "concurrency": 4}, "--max-memory, -c do nothing with -P solo"),
        ({"worker_autoscale": "3,1"}, {"processes": 2}, "--processes does nothing with -P prefork"),
        ({}, {"processes": 2, "concurrency": 3}, "-c does nothing beside --processes with -P prefork"),
        ({"task_time_limit": 3, "task_soft_time_limit": 5}, {}, "the soft time limit of 5 s is never told"),
        ({"worker_concurrency": 4, "task_time_limit": 3}, {"pool": "prefork", "processes": 2}, None),
        ({"worker_concurrency": 4}, {"pool": "solo", "concurrency": 1}, None),
        ({"worker_autoscale": "3,1"}, {"pool": "threads", "processes": 2, "concurrency": 9}, None),
    ],
)
def test_what_an_option_does_not_do_is_said(
    settings: dict[str, object], options: dict[str, object], said: str | None
) -> None:
    with Celery("plan", broker="memory://", set_as_current=False, **settings) as app:
        warnings = plan_of(app, WorkerOptions(**options)).warnings
    assert (said is None and not warnings) or (said is not None and said in " ".join(warnings))


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"worker_shutdown_grace": "soon"}, "worker_shutdown_grace is 'soon': it must be a number"),
        ({"worker_max_tasks_per_child": "x"}, "worker_max_tasks_per_child is 'x'"),
        ({"dead_letter_max": "x"}, "dead_letter_max is 'x'"),
        ({"task_queues": 42}, "task_queues is 42"),
        ({"timezone": "Mars/X"}, "timezone: unknown time zone 'Mars/X'"),
        ({"accept_content": ["nope"]}, "nope"),
    ],
)
def test_a_setting_that_is_of_no_use_ends_the_start_by_its_name(settings: dict[str, object], said: str) -> None:
    with Celery("plan", broker="memory://", set_as_current=False, **settings) as app:
        with pytest.raises(ImproperlyConfigured, match=said):
            plan_of(app, WorkerOptions())


def test_numbers_may_be_given_as_text() -> None:
    with Celery("plan", broker="memory://", worker_shutdown_grace="25", set_as_current=False) as app:
        assert plan_of(app, WorkerOptions()).grace == 25


def test_what_this_version_does_not_do_is_said() -> None:
    with Celery("plan", broker="memory://", task_routes={"a": {"queue": "b"}}, set_as_current=False) as app:
        (warning,) = plan_of(app, WorkerOptions()).warnings
    assert warning.startswith("task_routes: calls are refused")
