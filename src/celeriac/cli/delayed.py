"""`celeriac delayed`: messages that our workers have put off until their time.

A stock Celery worker does not look there: before a fleet goes back to Celery alone, `release` hands them back.
"""

from __future__ import annotations

import click

from .params import app_options, queues_option
from .session import Session, queue_names
from .tables import print_table, readable, when


@click.group()
@app_options
def delayed() -> None:
    """Messages that wait in the broker for their time (countdown, eta, retries)."""


@delayed.command("list")
@app_options
@queues_option
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="Most of each queue, soonest first."
)
@click.pass_obj
def list_(session: Session, queues: tuple[str, ...], limit: int) -> None:
    """List what is put off, the soonest first."""
    app = session.load()
    rows: list[tuple[object, ...]] = []
    for queue in queue_names(app, queues):
        for due, payload in app.broker.delayed(queue, limit):
            message = readable(payload)
            headers = message.headers if message is not None else {}
            rows.append((when(due), queue, headers.get("retries") or 0, headers.get("id", ""), headers.get("task", "")))
    if not rows:
        click.echo("Nothing is put off.")
        return
    print_table(("DUE", "QUEUE", "RETRIES", "TASK ID", "TASK"), sorted(rows, key=lambda row: str(row[0])))


@delayed.command()
@app_options
@queues_option
@click.pass_obj
def release(session: Session, queues: tuple[str, ...]) -> None:
    """Hand all of them back to their queues as they were published, for stock Celery workers to wait for."""
    app = session.load()
    released = sum(app.broker.release(queue) for queue in queue_names(app, queues))
    click.echo(f"Handed back: {released}.")
