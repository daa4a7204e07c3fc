"""What a worker shows when it starts: name, app, broker (without its password), results, queues, tasks."""

from __future__ import annotations

import sys

from ..foundation.urls import mask
from ..foundation.version import __version__
from .plan import Plan


def banner(node: str, plan: Plan) -> str:
    """The text, to be printed whatever the log level."""
    results = "disabled://" if plan.backend is None else mask(plan.backend)
    lines = [
        "",
        f" celeriac {__version__}  {node}",
        "",
        f" app       {plan.name}",
        f" broker    {mask(plan.broker)}",
        f" results   {results}",
        f" slots     {plan.concurrency} ({plan.pool})",
        f" queues    {', '.join(plan.queues)}",
        "",
        " [tasks]",
        *(f"  . {name}" for name in plan.tasks),
        "",
    ]
    return "\n".join(lines)


def show(text: str) -> None:
    """On standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
