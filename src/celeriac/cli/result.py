"""`celeriac result`: what became of a task (Celery's guide: Calling Tasks, "Results")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import TimeoutError
from .call import full_name
from .params import app_options
from .session import Session

if TYPE_CHECKING:
    from ..client.result import AsyncResult

#: Seconds of silence before saying what is being waited for.
_SILENT = 1.0


@click.command()
@app_options
@click.argument("task_id")
@click.option("-t", "--task", help="Name of the task, where its own backend or serializer matters.")
@click.option("--traceback", is_flag=True, help="Print the traceback instead.")
@click.option("--timeout", type=click.FloatRange(0), help="Wait at most so many seconds; default: until it is there.")
@click.option("--follow", is_flag=True, help="Show how far it is meanwhile, on stderr.")
@click.pass_obj
def result(
    session: Session, task_id: str, task: str | None, traceback: bool, timeout: float | None, follow: bool
) -> int:
    """Print the return value of the task TASK_ID, waiting for it; exit code 1 if it failed."""
    app = session.load(tasks=task is not None)
    make = app.tasks[full_name(task, app.tasks)].AsyncResult if task else app.AsyncResult
    answer = make(task_id)
    try:
        arrived = _shown(answer, timeout) if follow else _wait(answer, timeout)
    except NotImplementedError as error:  # Celery's type for "no result backend is configured"
        raise click.ClickException(str(error)) from None
    if not arrived:
        raise click.ClickException(f"no result within {timeout:g} s; the state is {answer.state}")
    if traceback:
        click.echo(answer.traceback or "")
        return 0
    if answer.successful():
        click.echo(answer.result)
        return 0
    failure = answer.result
    raise click.ClickException(f"{answer.state}: {type(failure).__name__}: {failure} (--traceback shows where)")


def _shown(answer: AsyncResult[Any], timeout: float | None) -> bool:
    from .follow import follow  # who only asks for a result needs none of it

    return follow(answer, timeout)


def _wait(answer: AsyncResult[Any], timeout: float | None) -> bool:
    """Whether the result is there in time; after a moment of nothing, says what the silence is about."""
    first = _SILENT if timeout is None else min(timeout, _SILENT)
    if _arrives(answer, first):
        return True
    if timeout is not None and timeout <= _SILENT:
        return False
    click.echo(f"waiting for {answer.id} ({answer.state}); Ctrl-C ends it, --timeout bounds it", err=True)
    return _arrives(answer, None if timeout is None else timeout - first)


def _arrives(answer: AsyncResult[Any], timeout: float | None) -> bool:
    try:
        answer.get(timeout=timeout, propagate=False)
    except TimeoutError:
        return False
    return True
