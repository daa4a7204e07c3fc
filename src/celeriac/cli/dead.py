"""`celeriac dead`: messages set aside, with their reason. Look at them, mend them, send them again, delete them.

Everything it does is `app.dead`; here are options, questions and tables.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from .params import Command, app_options, comma_list, json_list, json_object
from .session import Session, queue_names
from .tables import harmless, print_table, readable, when

if TYPE_CHECKING:
    from ..brokers.base import DeadLetter
    from ..client.app import Celery
    from ..client.dead import DeadLetters

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def age(value: str) -> float | datetime:
    """`90`, `90s`, `30m`, `1h`, `2d`, `1w`, or an ISO 8601 instant. Raises: BadParameter."""
    found = _AGE.fullmatch(value.strip())
    if found:
        return float(found[1]) * _UNITS[found[2]]
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no age such as 30m, 1h or 2d, and no ISO 8601 time") from None


def rate(value: str) -> str:
    """`10/s`. Raises: BadParameter."""
    from ..client.dead import per_second

    try:
        per_second(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return value


def _queues(command: Command) -> Command:
    return click.option(
        "-Q", "--queue", "--queues", "queues", type=comma_list, default="", metavar="A,B",
        help="Only these queues; default: all configured.",
    )(command)  # fmt: skip


_CHOICE: tuple[Callable[[Any], Any], ...] = (
    click.option("--task", metavar="NAME", help="Only of this task; a pattern such as 'shop.*' will do."),
    click.option("--reason", metavar="WORD", help="Only of this reason: failed, lost, rejected, unregistered …"),
    click.option("--older", type=age, metavar="AGE", help="Only set aside before that: 30m, 1h, 2d, or an instant."),
    click.option("--newer", type=age, metavar="AGE", help="Only set aside since then."),
)


def _choice(command: Command) -> Command:
    """Which letters: ids, task, reason, age, queue."""
    for option in reversed(_CHOICE):
        command = option(command)
    return click.argument("ids", metavar="[ID]...", nargs=-1)(_queues(app_options(command)))


_all = click.option("--all", "everything", is_flag=True, help="All of them.")
_dry_run = click.option("--dry-run", is_flag=True, help="Only say how many it would be.")
_force = click.option("-f", "-y", "--force", "--yes", "force", is_flag=True, help="Do not ask.")
_json = click.option("--json", "as_json", is_flag=True, help="JSON, one object a line.")


@click.group()
@app_options
def dead() -> None:
    """Messages that could not run, or failed for good, kept with their reason."""


@dead.command("list")
@_choice
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Most to list, newest first.")
@_json
@click.pass_obj
def list_(session: Session, /, ids: tuple[str, ...], limit: int, as_json: bool, **choice: Any) -> None:
    """List dead letters, newest first. IDs are their own or the tasks'."""
    letters = _letters(session, choice)[0].list(*ids, limit=limit, **choice)
    if as_json:
        for letter in letters:
            click.echo(json.dumps(_facts(letter), ensure_ascii=False))
    elif not letters:
        click.echo("No dead letters.")
    else:
        print_table(
            ("ID", "SINCE", "QUEUE", "REASON", "TASK", "TASK ID", "DETAIL"),
            [(it.id, when(it.since), it.queue, it.reason, it.task, it.task_id, it.detail) for it in letters],
        )


@dead.command()
@app_options
@_queues
@_json
@click.argument("identity", metavar="ID")
@click.pass_obj
def show(session: Session, /, queues: tuple[str, ...], identity: str, as_json: bool) -> None:
    """Show everything about one dead letter; ID is its own id or the task's."""
    choice: dict[str, Any] = {"queues": queues}
    letters = _known(_letters(session, choice)[0], [identity], choice)
    for letter in letters:
        if as_json:
            click.echo(json.dumps(_facts(letter, whole=True), ensure_ascii=False))
        else:
            _show(letter)


@dead.command()
@_choice
@_all
@click.option("--countdown", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="The first so much later.")
@click.option("--rate", type=rate, metavar="10/s", help="The others one after the other, at this rate.")
@_dry_run
@click.pass_obj
def requeue(session: Session, /, ids: tuple[str, ...], everything: bool, dry_run: bool, **options: Any) -> None:
    """Send dead letters again, as they were, the oldest first."""
    pace = {"countdown": options.pop("countdown"), "rate": options.pop("rate")}
    letters, choice = _chosen(session, ids, everything, options)
    sent = letters.requeue(*ids, **pace, dry_run=dry_run, everything=everything, **choice)
    click.echo(f"{'Would be sent' if dry_run else 'Sent'} again: {sent}.")


@dead.command()
@app_options
@_queues
@click.argument("identity", metavar="ID")
@click.option("--args", type=json_list, metavar="JSON", help="New arguments: '[1, 2]'.")
@click.option("--kwargs", type=json_object, metavar="JSON", help="New keyword arguments: '{\"x\": 2}'.")
@click.option(
    "--headers", type=json_object, metavar="JSON", help="Headers to change: '{\"expires\": null}' takes one out."
)
@_force
@click.pass_obj
def edit(session: Session, /, identity: str, queues: tuple[str, ...], force: bool, **changes: Any) -> None:
    """Change the message of a dead letter. It stays dead: requeue sends it."""
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        raise click.UsageError("say what to change: --args, --kwargs or --headers")
    choice: dict[str, Any] = {"queues": queues}
    letters = _letters(session, choice)[0]
    (letter, *_) = _known(letters, [identity], choice)
    _ask(force, f"Change the message of dead letter {letter.id} ({letter.task or 'unknown task'})?")
    letters.edit(letter.id, queues=(letter.queue,), **changes)
    click.echo(f"Changed: {letter.id}.")


@dead.command()
@_choice
@click.option("-o", "--output", type=click.File("wb"), default="-", help="File to write; default: standard output.")
@click.pass_obj
def export(session: Session, /, ids: tuple[str, ...], output: Any, **choice: Any) -> None:
    """Write dead letters as JSON lines, their original bytes in base64. They stay where they are."""
    letters = _letters(session, choice)[0]
    written = letters.export(output, *ids, **choice)
    click.echo(f"Exported: {written}.", err=True)


@dead.command("import")
@app_options
@click.option("-Q", "--queue", metavar="NAME", help="Keep them in this queue; default: where each came from.")
@click.argument("file", type=click.File("rb"))
@click.pass_obj
def import_(session: Session, /, queue: str | None, file: Any) -> None:
    """Keep the dead letters of a file that `export` wrote."""
    click.echo(f"Imported: {session.load().dead.load(file, queue)}.")


@dead.command()
@_choice
@_all
@_dry_run
@_force
@click.pass_obj
def purge(
    session: Session, /, ids: tuple[str, ...], everything: bool, dry_run: bool, force: bool, **options: Any
) -> None:
    """Delete dead letters for good."""
    letters, choice = _chosen(session, ids, everything, options)
    if dry_run:
        click.echo(f"Would be deleted: {letters.purge(*ids, dry_run=True, everything=everything, **choice)}.")
        return

    def ask(count: int) -> None:
        _ask(force, f"Delete {count} dead letters for good?")

    click.echo(f"Deleted: {letters.purge(*ids, everything=everything, confirm=ask, **choice)}.")


# -- inside -----------------------------------------------------------------------------------------------------------


def _letters(session: Session, choice: dict[str, Any]) -> tuple[DeadLetters, Celery]:
    """The app's dead letters, and `choice` with the queues that it means."""
    app = session.load()
    choice["queues"] = tuple(queue_names(app, choice["queues"]))
    return app.dead, app


def _chosen(
    session: Session, ids: tuple[str, ...], everything: bool, choice: dict[str, Any]
) -> tuple[DeadLetters, dict[str, Any]]:
    """For commands that change something: what they are to change must be said, and ids must be there."""
    said = bool(ids) or any(choice[name] is not None for name in ("task", "reason", "older", "newer"))
    if said == everything:
        raise click.UsageError("say which: ids, --task, --reason, --older, --newer, or --all")
    letters = _letters(session, choice)[0]
    if ids:
        _known(letters, ids, choice)
    return letters, choice


def _known(letters: DeadLetters, ids: Sequence[str], choice: dict[str, Any]) -> Sequence[DeadLetter]:
    """The letters that the ids mean. Raises: ClickException that names those of which there is none."""
    found = letters.list(*ids, limit=None, **choice)
    unknown = set(ids) - {letter.id for letter in found} - {letter.task_id for letter in found}
    if unknown:
        raise click.ClickException(f"no dead letter {', '.join(sorted(unknown))} (celeriac dead list has them all)")
    return found


def _ask(force: bool, question: str) -> None:
    if force:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is there to confirm; use -f to go on without asking")
    click.confirm(question, abort=True)


def _facts(letter: DeadLetter, *, whole: bool = False) -> dict[str, Any]:
    facts: dict[str, Any] = msgspec.to_builtins(letter)
    if whole:
        message = readable(letter.payload)
        if message is not None:
            body = message.body.decode("utf-8", "backslashreplace")
            facts["message"] = {"headers": _plain(message.headers), "body": body}
        return facts
    return {name: facts[name] for name in ("id", "since", "queue", "reason", "task", "task_id", "detail", "strikes")}


def _plain(headers: dict[str, Any]) -> Any:
    return json.loads(json.dumps(headers, default=repr))


def _show(letter: DeadLetter) -> None:
    facts = {
        "id": letter.id,
        "queue": letter.queue,
        "since": when(letter.since),
        "reason": letter.reason,
        "detail": letter.detail,
        "strikes": letter.strikes,
        "task": letter.task or "-",
        "task id": letter.task_id or "-",
    }
    if letter.again is not None:
        facts["again"] = when(letter.again)
    for name, value in facts.items():
        click.echo(f"{name + ':':<9}{harmless(str(value))}")
    if letter.history:
        click.echo("\nhistory:")
        for each in letter.history:
            click.echo(f"  {when(each.when)}  {harmless(each.what):<9}  {harmless(each.who)}".rstrip())
    if letter.traceback:
        click.echo(f"\n{harmless(letter.traceback).rstrip()}")
    message = readable(letter.payload)
    if message is None:
        click.echo(f"\npayload ({len(letter.payload)} bytes, not readable as a message):")
        click.echo(harmless(letter.payload.decode("utf-8", "backslashreplace")))
        return
    headers = json.dumps(message.headers, indent=2, ensure_ascii=False, default=repr)
    click.echo(f"\nheaders:\n{harmless(headers)}")
    click.echo(f"\nbody ({message.content_type}, {message.content_encoding}):")
    click.echo(harmless(message.body.decode("utf-8", "backslashreplace")))
