"""Revocations as a worker knows them: which tasks are not to run. It reads them from the broker only when a turn says
that there are newer ones, and decides at the start of a run, so that what was put off or read ahead is asked too.

Celery's guide: Workers, "Revoking tasks" and "Revoking tasks by their stamped headers".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..brokers.base import Settlement
from ..brokers.revocation import Revocation, changed_rate
from ..errors import TaskRevokedError
from ..signals import task_revoked
from . import members, telling
from .admission import Admitted
from .records import Records

logger = logging.getLogger("celery.worker.request")

#: More than the broker keeps: then what it has dropped since is dropped here as well, by reading all anew.
_MOST = 120_000

#: As `Broker.revocations`: (newest revision, entries newer than the one given).
Read = Callable[[int], tuple[int, list[Revocation]]]


class Known:
    """Entries, for looking up by id and stamps. Pure."""

    def __init__(self, entries: Iterable[Revocation] = ()) -> None:
        self._ids: dict[str, Revocation] = {}
        self._stamps: dict[str, dict[str, Revocation]] = {}
        self.add(entries)

    def __len__(self) -> int:
        return len(self._ids) + sum(len(values) for values in self._stamps.values())

    def add(self, entries: Iterable[Revocation]) -> None:
        for entry in entries:
            if changed_rate(entry):
                continue  # the supervisor's business
            if entry.task_id:
                self._ids[entry.task_id] = entry
            for name, values in entry.headers.items():
                self._stamps.setdefault(name, {}).update(dict.fromkeys(map(str, values), entry))

    def find(self, headers: Mapping[str, Any]) -> tuple[Revocation, str] | None:
        """Whether a message of these headers is revoked: the entry, and for the log by which header."""
        entry = self._ids.get(headers.get("id") or "")
        if entry is not None:
            return entry, ""
        if self._stamps:
            stamps = headers.get("stamps") or {}
            for name in headers.get("stamped_headers") or ():
                revoked, value = self._stamps.get(name), stamps.get(name)
                for one in (value if isinstance(value, (list, tuple)) else (value,)) if revoked else ():
                    if revoked is not None and str(one) in revoked:
                        return revoked[str(one)], f" (revoked by header: { ({name: one}) })"
        return None


class Revocations:
    """`read` asks the broker; `records` for the state REVOKED."""

    def __init__(self, read: Read, records: Records) -> None:
        self._read = read
        self._records = records
        self._known = Known()
        self._revision = 0

    def refuse(self, work: Admitted, revision: int) -> Settlement | None:
        """What becomes of it if it is not to run. `revision` is that of the turn that reserved last.

        Raises: OperationalError where the broker cannot be asked; then it must not start either.
        """
        if revision != self._revision:
            self._catch_up(revision)
        found = self._known.find(vars(work.request)) if self._known else None
        return None if found is None else self._discard(work, found[1])

    def _catch_up(self, revision: int) -> None:
        """A lower one than before: the server was emptied, and forgot them."""
        begin = revision < self._revision or len(self._known) > _MOST
        _, entries = self._read(0 if begin else self._revision)
        if begin:
            self._known = Known()
        self._known.add(entries)
        # What came after that turn is read again with the next: so the revision is always one that a turn had.
        self._revision = revision

    def _discard(self, work: Admitted, by: str) -> Settlement:
        task, request = work.task, work.request
        logger.info("Discarding revoked task: %s[%s]%s", request.shadow or task.name, request.id, by)
        if task_revoked.receivers:
            telling.revoked(task, request)
        record, error = None, TaskRevokedError("revoked")
        if request.chord or not request.ignores_result(task.ignore_result):
            record = self._records.revoked(request, error)
        return members.ended(self._records, Settlement(work.delivery, record=record), request, record, error)
