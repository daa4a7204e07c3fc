"""An app's own signals, sent when and as Celery sends them."""

from __future__ import annotations

import os
from typing import Any

import celery
import pytest

from celeriac import Celery

KINDS = pytest.mark.parametrize("kind", [Celery, celery.Celery])


@KINDS
def test_the_order_of_an_apps_life(kind: Any) -> None:
    app = kind("life", set_as_current=False)
    told: list[str] = []

    @app.on_configure.connect
    def configure(sender: Any, **named: Any) -> None:
        told.append(f"configure {sender.configured}")
        sender.config_from_object({"task_default_queue": "from-configure"})

    @app.on_after_configure.connect
    def after(sender: Any, source: Any, **named: Any) -> None:
        told.append(f"after {source.task_default_queue} {sender.conf.task_default_queue}")

    @app.on_after_finalize.connect
    def finalized(sender: Any, **named: Any) -> None:
        told.append(f"finalized {'life.work' in sender.tasks}")

    @app.task(name="life.work")
    def work() -> None: ...

    assert told == []
    assert app.conf.task_default_queue == "from-configure"
    assert app.tasks
    app.finalize()
    assert told == ["configure False", "after from-configure from-configure", "finalized True"]


@KINDS
def test_a_subclass_may_have_a_method_instead(kind: Any) -> None:
    class Own(kind):  # type: ignore[misc]
        def on_configure(self) -> None:
            self.seen = True

    app = Own("own", set_as_current=False)
    assert app.conf.task_default_queue == "celery"
    assert app.seen


def test_a_forked_child_is_told() -> None:
    with Celery("forks", broker="memory://forks", set_as_current=False) as app:
        here, there = os.pipe()

        @app.on_after_fork.connect
        def forked(sender: Any, **named: Any) -> None:
            os.write(there, sender.main.encode())

        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(here, 10) == b"forks"
        os.close(here)
        os.close(there)
