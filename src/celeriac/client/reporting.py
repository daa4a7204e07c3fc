"""`self.progress(...)`: how far a run is, told ten times a second at most, however often it is said.

A thread of the process writes; the body only notes the newest word, so it never waits for a backend, on an event loop
or elsewhere. The newest word is always told, unless the run ends first: then the end itself is the news, and the run's
settlement begins after whatever was being written.
"""

from __future__ import annotations

import logging
import operator
import os
import threading
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..wire.message import Record
from . import current
from .progress import PROGRESS, state_record

if TYPE_CHECKING:
    from .request import Context
    from .task import Task

logger = logging.getLogger("celery.task")

#: Seconds between two writes of a run.
INTERVAL = 0.1
#: Seconds after which a write that failed is tried again.
_AGAIN = 1.0
#: Seconds that the end of a run waits for a write under way: no longer than a backend should take.
_ENDS = 5.0
#: Seconds that the thread stays with nothing to tell.
_LINGER = 5.0


def progress(task: Task[..., Any], done: Any, total: Any, message: Any) -> None:
    """See `Task.progress`. Raises: TypeError for what is no number."""
    meta = {"current": _number(done), "total": None if total is None else _number(total), "message": str(message)}
    request = task.request
    if request.called_directly or request.id is None or request.ignores_result(task.ignore_result):
        return
    if request.is_eager and not task.store_eager_result:
        return
    owner = _owner(request)
    report = owner._report
    if not isinstance(report, Report):
        report = owner._report = Report(task, owner)
    _desk.note(report, meta)


def _owner(request: Context) -> Context:
    """The request that the worker entered: a task that calls itself directly goes on with a copy, which nobody ends."""
    owner, run = request, current.running()
    while run is not None:
        if run.request.id == request.id:
            owner = run.request
        run = run.outer
    return owner


def ended(request: Context) -> None:
    """The run is over: nothing is told of it from now on."""
    report = request._report
    request._report = None
    if isinstance(report, Report):
        _desk.end(report)


def _number(value: Any) -> int | float:
    if type(value) in (int, float):
        return value  # type: ignore[no-any-return]
    try:
        return operator.index(value)
    except TypeError:
        return float(value)


class Report:
    """What a run has said last. The fields belong to the lock of the desk."""

    def __init__(self, task: Task[..., Any], request: Context) -> None:
        self.task = task
        self.request = request
        self.task_id = request.id
        self.meta: dict[str, Any] = {}
        #: The instant before which nothing more is written.
        self.not_before = 0.0
        self.ended = False
        #: Is being written at this moment.
        self.under_way = False

    def record(self) -> Record:
        return state_record(self.task.app, self.task_id, PROGRESS, self.meta, self.request)


class Desk:
    """The reports of a process that are to be written, and the thread that writes them. Anew in a forked child."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Report, None] = {}
        self._runs = False

    def note(self, report: Report, meta: dict[str, Any]) -> None:
        """Write this, or what comes after it, as soon as it is time."""
        with self._changed:
            report.meta = meta
            if report in self._due or report.ended:
                return
            self._due[report] = None
            starts, self._runs = not self._runs, True
            self._changed.notify_all()
        if starts:
            threading.Thread(target=self._run, name="celeriac-progress", daemon=True).start()

    def end(self, report: Report) -> None:
        """Write nothing more of it; returns when what is being written has been."""
        with self._changed:
            report.ended = True
            self._due.pop(report, None)
            if report.under_way:
                self._changed.wait_for(lambda: not report.under_way, _ENDS)

    def _run(self) -> None:
        while (now := self._take()) is not None:
            self._write(now)

    def _take(self) -> list[Report] | None:
        """The reports whose time has come, when there are some; None: there has been nothing for a while."""
        with self._changed:
            idle_until = monotonic() + _LINGER
            while True:
                now = monotonic()
                ready = [report for report in self._due if report.not_before <= now]
                if ready:
                    for report in ready:
                        del self._due[report]
                        report.under_way, report.not_before = True, now + INTERVAL
                    return ready
                if not self._due and now >= idle_until:
                    self._runs = False
                    return None
                wakes = min((report.not_before for report in self._due), default=idle_until)
                self._changed.wait(max(0.0, wakes - now))

    def _write(self, reports: Iterable[Report]) -> None:
        places: dict[int, tuple[Any, list[tuple[Report, Record]]]] = {}
        for report in reports:
            try:
                backend = report.task.backend
                places.setdefault(id(backend), (backend, []))[1].append((report, report.record()))
            except Exception:
                logger.exception("Progress of %s cannot be told", report.task_id)
                self._written([report])
        for backend, some in places.values():
            failed = False
            try:
                backend.put_many([record for _, record in some])
            except Exception as error:  # a state on the way is not worth a failure
                failed = True
                logger.warning("Progress of %s could not be stored: %s", some[0][0].task_id, error)
            self._written([report for report, _ in some], failed)

    def _written(self, reports: Iterable[Report], failed: bool = False) -> None:
        with self._changed:
            for report in reports:
                report.under_way = False
                if failed and not report.ended:
                    report.not_before = monotonic() + _AGAIN
                    self._due[report] = None
            self._changed.notify_all()


_desk = Desk()


def _after_fork() -> None:
    # The thread is the parent's, and so are the runs.
    global _desk
    _desk = Desk()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
