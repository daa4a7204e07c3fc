"""The plan: what the app's settings come to before anything is started."""

from __future__ import annotations

import pytest

from celeriac import Celery
from celeriac.errors import ImproperlyConfigured
from celeriac.worker.loaded import plan_of
from celeriac.worker.options import WorkerOptions


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
