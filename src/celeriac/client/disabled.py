"""The result backend of an app that has none: it stores nothing, and whoever asks is told what to set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..backends.base import Watch
from ..wire.message import Record

__all__ = ["DisabledBackend"]

_TEXT = (
    "No result backend is configured.\n"
    "Set result_backend, e.g. Celery(..., backend='redis://localhost:6379/1'), in the app that calls "
    "and in the worker."
)


class DisabledBackend:
    """Stores nothing; reading raises NotImplementedError, as in Celery."""

    identity: tuple[str, Any] = ("disabled", None)
    location: Mapping[str, Any] = {}

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def put_many(self, records: Sequence[Record]) -> None:
        """Results are dropped: nobody wants them."""

    def get_many(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Raises: NotImplementedError, saying what to set."""
        self._refuse()

    def forget(self, ids: Sequence[str]) -> None:
        """Nothing was kept."""

    def watch(self) -> Watch:
        """Raises: NotImplementedError, saying what to set."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotImplementedError(_TEXT)
