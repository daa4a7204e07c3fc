"""`celeriac purge`: deletes what waits in queues, after asking (Celery's guide: Monitoring, "purge")."""

from __future__ import annotations

import sys

import click

from .params import app_options, comma_list, queues_option
from .session import Session, queue_names


@click.command()
@app_options
@queues_option
@click.option("-X", "--exclude-queues", type=comma_list, default="", metavar="A,B", help="Not these queues.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def purge(session: Session, queues: tuple[str, ...], exclude_queues: tuple[str, ...], force: bool) -> None:
    """Delete all messages that wait. What runs, and dead letters, stay. There is no way back."""
    app = session.load()
    names = queue_names(app, queues, exclude_queues)
    if not names:
        raise click.UsageError("no queue is left to purge")
    noun = "queue" if len(names) == 1 else "queues"
    if not force:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody is there to confirm; use -f to purge without asking")
        click.confirm(f"Delete all messages from {noun} {', '.join(sorted(names))} for good?", abort=True)
    deleted = app.broker.purge(names)
    if deleted:
        messages = "message" if deleted == 1 else "messages"
        click.echo(f"Purged {deleted} {messages} from {len(names)} known task {noun}.")
    else:
        click.echo(f"No messages purged from {len(names)} {noun}.")
