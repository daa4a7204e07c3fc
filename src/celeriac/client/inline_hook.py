"""Where `Task.apply` finds the code that runs a task in the calling process.

The run itself is `execution`'s, a floor above this one, so it is found by name at first use; the registry lets a test
or an embedder put another runner in its place.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .eager_result import EagerResult
    from .request import Context
    from .task import Task

    #: (task, request, throw) -> result. `request` has args, kwargs, id, retries and `is_eager`; with `throw` the
    #: task's exception is raised instead of returned. A `Retry` is run again inside.
    Runner = Callable[[Task[..., Any], Context, bool], EagerResult[Any]]

_HOME = "celeriac.execution.inline"

#: Set by whoever wants to run eager tasks differently; None: `run_inline` of `celeriac.execution.inline`.
runner: Runner | None = None


def run_inline(task: Task[..., Any], request: Context, throw: bool) -> EagerResult[Any]:
    """Run `task` here and now."""
    run = runner if runner is not None else _default()
    return run(task, request, throw)


def _default() -> Runner:
    global runner
    # By name, at first use: `client` may not import `execution` (floors), and most clients never run a task.
    found: Runner = importlib.import_module(_HOME).run_inline
    runner = found
    return found
