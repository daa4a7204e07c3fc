"""`celeriac call`: sends one task by name, full or short, and prints its id (Celery's guide: Calling Tasks)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from ..foundation.suggest import nearest
from .params import app_options, instant, instant_or_seconds, json_list, json_object, refused
from .session import Session

#: Options of `apply_async` that have one of the command line, under the same name.
_OPTIONS = ("countdown", "eta", "expires", "queue", "task_id", "priority", "serializer")


@click.command()
@app_options
@click.argument("name")
@click.option("-a", "--args", type=json_list, default="[]", metavar="JSON", help="Positional arguments, a JSON list.")
@click.option(
    "-k", "--kwargs", type=json_object, default="{}", metavar="JSON", help="Keyword arguments, a JSON object."
)
@click.option("--countdown", type=float, help="Run it in so many seconds.")
@click.option("--eta", type=instant, metavar="TIME", help="Run it not before this time.")
@click.option(
    "--expires",
    type=instant_or_seconds,
    metavar="TIME|SECONDS",
    help="Do not run it after this time, or so many seconds.",
)
@click.option("--queue", help="Queue to send it to.")
@click.option("--task-id", help="Its id, instead of a new one.")
@click.option("--priority", type=click.IntRange(0, 255), help="Its priority.")
@click.option("--serializer", help="Serializer of its arguments.")
@refused("--exchange", why="is not supported: name the --queue")
@refused("--routing-key", why="is not supported: name the --queue")
@click.pass_obj
def call(session: Session, /, name: str, args: list[Any], kwargs: dict[str, Any], **options: Any) -> None:
    """Send the task NAME and print its id.

    NAME is the full name, or its end where that is unique: `add` for `proj.tasks.add`.
    """
    app = session.load(tasks=True)
    given = {name: options[name] for name in _OPTIONS if options[name] is not None}
    if not session.app_text:  # only a broker is known: there is nothing to check the name against
        click.echo(app.send_task(name, args, kwargs, **given).id)
        return
    task = app.tasks[full_name(name, app.tasks)]
    try:
        result = task.apply_async(args, kwargs, **given)
    except TypeError as error:  # the arguments do not fit the task
        raise click.UsageError(str(error)) from None
    click.echo(result.id)


def full_name(name: str, known: Iterable[str]) -> str:
    """The task that `name` means. Raises: UsageError if there is none, or more than one."""
    names = sorted(known)
    if name in names:
        return name
    ends = [full for full in names if full.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise click.UsageError(f"{name!r} is the end of several tasks, name one: {', '.join(ends)}")
    own = [full for full in names if not full.startswith(("celery.", "celeriac."))]
    raise click.UsageError(f"no task {name!r}{_hint(name, own)}")


def _hint(name: str, known: list[str]) -> str:
    """What may have been meant: by the whole name, else by its end, else all that there is."""
    ends = nearest(name.rpartition(".")[2], [full.rpartition(".")[2] for full in known])
    close = nearest(name, known) or [full for full in known if full.rpartition(".")[2] in ends]
    if close:
        return f" (did you mean {' or '.join(map(repr, close))}?)"
    return f"; there are {', '.join(known[:10])}" if known else "; the app has no tasks"
