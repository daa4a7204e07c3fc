"""`celeriac dead`: messages that could not run, kept with their reason. Look at them, and send them again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from .params import app_options, queues_option
from .session import Session, queue_names
from .tables import harmless, print_table, readable, when

if TYPE_CHECKING:
    from ..brokers.base import DeadLetter
    from ..client.app import Celery

#: Enough for a search by id through everything; a list stays short.
_ALL = 1_000_000


@click.group()
@app_options
def dead() -> None:
    """Messages that could not run: unknown task, unreadable, refused, or its process died too often."""


@dead.command("list")
@app_options
@queues_option
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Most to list, newest first.")
@click.pass_obj
def list_(session: Session, queues: tuple[str, ...], limit: int) -> None:
    """List dead letters, newest first."""
    app = session.load()
    letters = app.broker.dead_letters(queue_names(app, queues), limit)
    if not letters:
        click.echo("No dead letters.")
        return
    print_table(
        ("ID", "SINCE", "QUEUE", "REASON", "TASK", "TASK ID", "DETAIL"),
        [(it.id, when(it.since), it.queue, it.reason, it.task, it.task_id, it.detail) for it in letters],
    )


@dead.command()
@app_options
@queues_option
@click.argument("identity", metavar="ID")
@click.pass_obj
def show(session: Session, queues: tuple[str, ...], identity: str) -> None:
    """Show everything about one dead letter; ID is its own id or the task's."""
    app = session.load()
    for letter in _find(_letters(app, queues), [identity]):
        _show(letter)


@dead.command()
@app_options
@queues_option
@click.argument("identities", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.pass_obj
def requeue(session: Session, queues: tuple[str, ...], identities: tuple[str, ...], everything: bool) -> None:
    """Send dead letters again, as they were; IDs are their own or the tasks'."""
    if bool(identities) == everything:
        raise click.UsageError("name the ids to send again, or --all")
    app = session.load()
    letters = _letters(app, queues)
    chosen = letters if everything else _find(letters, identities)
    sent = 0
    for queue in dict.fromkeys(letter.queue for letter in chosen):
        sent += len(app.broker.requeue_dead(queue, [letter.id for letter in chosen if letter.queue == queue]))
    click.echo(f"Sent again: {sent}.")


def _letters(app: Celery, queues: Sequence[str]) -> list[DeadLetter]:
    return app.broker.dead_letters(queue_names(app, queues), _ALL)


def _find(letters: Iterable[DeadLetter], identities: Sequence[str]) -> list[DeadLetter]:
    """The letters that the ids mean. Raises: ClickException that names those of which there is none."""
    wanted = set(identities)
    found = [letter for letter in letters if letter.id in wanted or letter.task_id in wanted]
    unknown = wanted - {letter.id for letter in found} - {letter.task_id for letter in found}
    if unknown:
        raise click.ClickException(f"no dead letter {', '.join(sorted(unknown))} (celeriac dead list has them all)")
    return found


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
    for name, value in facts.items():
        click.echo(f"{name + ':':<9}{harmless(str(value))}")
    message = readable(letter.payload)
    if message is None:
        click.echo(f"\npayload ({len(letter.payload)} bytes, not readable as a message):")
        click.echo(harmless(letter.payload.decode("utf-8", "backslashreplace")))
        return
    headers = json.dumps(message.headers, indent=2, ensure_ascii=False, default=repr)
    click.echo(f"\nheaders:\n{harmless(headers)}")
    click.echo(f"\nbody ({message.content_type}, {message.content_encoding}):")
    click.echo(harmless(message.body.decode("utf-8", "backslashreplace")))
