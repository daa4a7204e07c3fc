"""`celeriac queues`: how many messages of each queue stand where."""

from __future__ import annotations

import click

from .params import app_options, queues_option
from .session import Session, queue_names
from .tables import print_table


@click.command()
@app_options
@queues_option
@click.pass_obj
def queues(session: Session, queues: tuple[str, ...]) -> None:
    """Count the messages of each queue: waiting, put off, running, suspect (alone from now on), dead."""
    app = session.load()
    counts = app.broker.count(queue_names(app, queues))
    print_table(
        ("QUEUE", "READY", "DELAYED", "IN FLIGHT", "SUSPECT", "DEAD"),
        [
            (name, it.ready, it.delayed, it.in_flight, it.suspects + it.quarantined, it.dead)
            for name, it in counts.items()
        ],
    )
