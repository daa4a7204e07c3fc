"""What a supervisor's words make of a runner, of whichever kind. It reads the line, and waits for nothing."""

from __future__ import annotations

from typing import Any

from ...execution.admission import Admission
from ..lines import Line


class Commanded:
    """What is wanted of it at the moment; the runner itself says `_heard` to words of its own."""

    def __init__(self, line: Line, admission: Admission) -> None:
        self._line = line
        self._admission = admission
        self._stopping = False
        self._quiet = False
        #: Why nothing is to be reserved for now.
        self._paused: set[str] = set()
        #: There may be something to reserve.
        self._woken = True

    def _hear(self) -> None:
        """All that was said since the last look."""
        for word, more in self._line.said():
            if word == "stop":
                self._stopping = True
            elif word == "quiet":
                self._quiet = True
            elif word == "resume":
                self._quiet, self._woken = False, True
            elif word == "quarantine":
                self._run_quarantined()
            else:
                self._hear_more(word, more)
        if self._line.closed:
            self._stopping = True

    def _hear_more(self, word: str, more: dict[str, Any]) -> None:
        if word == "rate":
            self._admission.change_rate(**more)
        elif word == "pause":
            self._paused.add(more["why"])
        elif word == "unpause":
            self._paused.discard(more["why"])
            self._woken = True
        else:
            self._heard(word, more)

    def _heard(self, word: str, more: dict[str, Any]) -> None:
        """A word for this kind of runner."""

    def _run_quarantined(self) -> None:
        """Reserve one message that must run with nothing beside it on its node, run it, and say so."""
        raise NotImplementedError
