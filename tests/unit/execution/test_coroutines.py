"""Tasks that are coroutines, where no event loop was started for them."""

from __future__ import annotations

from celeriac import Celery


def test_an_async_task_called_eagerly_by_another_fails_alone() -> None:
    with Celery("coroutines", broker="memory://", set_as_current=False) as app:

        @app.task
        async def inner() -> int:
            return 2

        @app.task
        async def outer() -> tuple[str, int]:
            return inner.apply().state, await inner.run()

        assert outer.apply().get() == ("FAILURE", 2)  # nobody can wait here for another loop
        assert inner.apply().get() == 2
