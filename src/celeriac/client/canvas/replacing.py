"""What a running task does to the canvas it is part of: `Task.replace` and `Task.add_to_chord`."""

from __future__ import annotations

from typing import Any

from ...backends.base import Counting
from ...errors import Ignore, ImproperlyConfigured
from . import counting
from .identities import derived_from
from .signature import as_list, kind_of, signature


def replace(task: Any, sig: Any) -> Any:
    """`Task.replace`, which documents it. In a worker the ids that are given here are derived from the run's: repeated
    after a crash, it puts the same calls in its place."""
    request = task.request
    if request.is_eager:
        return _replaced(task, request, sig)
    with derived_from(f"{request.id}:replaced:{request.retries}"):
        return _replaced(task, request, sig)


def _replaced(task: Any, request: Any, sig: Any) -> Any:
    if "chord" in sig.options:
        raise ImproperlyConfigured("A signature replacing a task must not be part of a chord")
    if kind_of(sig) == "chain" and not sig.tasks:
        raise ImproperlyConfigured("Cannot replace with an empty chain")
    sig = _with_one_end(task, sig)
    for callback in as_list(request.callbacks):
        sig.link(callback)
    for errback in as_list(request.errbacks):
        sig.link_error(errback)
    if kind_of(sig) == "chain" and "link" in sig.options:
        # More steps may follow below: what is to be called with this task's result follows the present last one.
        sig.tasks[-1].options.setdefault("link", []).extend(as_list(sig.options.pop("link")))
    sig.freeze(request.id)
    nesting = (request.replaced_task_nesting or 0) + 1
    sig.set(
        chord=request.chord,
        group_id=request.group,
        group_index=request.group_index,
        root_id=request.root_id,
        replaced_task_nesting=nesting,
    )
    if kind_of(sig) == "chain":
        for step in sig.tasks:
            step.set(replaced_task_nesting=nesting)
    for step in reversed(request.chain or ()):
        sig = sig | signature(step, app=task.app).set(replaced_task_nesting=nesting)
    return task.on_replace(sig)


def _with_one_end(task: Any, sig: Any) -> Any:
    """A group's results gathered in a last call, which can have this task's id and callbacks."""
    gather = task.app.tasks["celery.accumulate"].s(index=0)
    if kind_of(sig) == "group":
        return sig | gather
    if kind_of(sig) == "chain" and kind_of(sig.tasks[-1]) == "group":
        sig.tasks = [*sig.tasks[:-1], sig.tasks[-1] | gather]
    return sig


def finish(task: Any, sig: Any) -> Any:
    """`Task.on_replace`. In a worker the messages are put by for the settlement of this run, which publishes them in
    the step that acknowledges it: a crash leaves either this task or what replaces it."""
    request = task.request
    if request.is_eager:
        return sig.apply().get()
    publisher = task.app.publisher
    with publisher.gathering(hold=True) as gathered:
        sig.delay()
    request.follow_ups.extend(gathered.messages)
    request._replaced = True
    raise Ignore("Replaced by new task")


def add_to_chord(task: Any, sig: Any, lazy: bool) -> Any:
    """`Task.add_to_chord`, which documents it."""
    request = task.request
    if not request.chord:
        raise ValueError("Current task is not member of any chord")
    backend: Counting = counting.require(task.app)
    sig.set(group_id=request.group, group_index=request.group_index, chord=request.chord, root_id=request.root_id)
    sig.freeze()
    backend.grow_group(request.group, sig.chord_size)
    return sig if lazy else sig.delay()
