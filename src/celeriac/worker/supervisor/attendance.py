"""Attendance: the supervisor's end of the line to the attendant. It waits for it at the end only, for `LAST_WORDS`.

Part of the supervisor's loop. An attendant that dies is replaced; one that does not listen is not spoken to any more.
"""

from __future__ import annotations

import json
import logging
import select
import socket
import time
from typing import Any

from ..lines import Line, on_line
from .process import Template

logger = logging.getLogger("celeriac.worker")

#: Seconds that receivers have for the end of the node.
LAST_WORDS = 5.0
#: Seconds before another attendant is started in place of one that died.
ANOTHER = 1.0


class Attendance:
    """`wanted`: somebody listens. Where nobody does, all of this does nothing."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self._line: Line | None = None
        self._template: Template | None = None
        self._since = -ANOTHER

    def keep(self, template: Template, now: float) -> None:
        """Have one, forked from the template that has the code of today."""
        if self._line is not None:
            self._line.said()  # it says nothing: this sees its end
            if self._line.closed:
                logger.warning("the process that sends the worker's signals has ended")
            if self._line.closed or self._template is not template:
                self._line.close()
                self._line = None
        if self.wanted and self._line is None and now - self._since > ANOTHER and not template.line.closed:
            self._since, self._template = now, template
            self._line = template.attend()

    def tell_of(self, word: str, payload: bytes, more: dict[str, Any]) -> None:
        """What has become of a message."""
        if self._line is not None:
            self.tell(word, payload=on_line(payload), **more)

    def tell(self, word: str, **more: Any) -> None:
        """Something has happened. What does not fit on the line is dropped: a receiver hangs, and is not waited for."""
        if self._line is None or self._line.closed:
            return
        text = f"{word} {json.dumps(more)}\n".encode() if more else f"{word}\n".encode()
        try:
            if self._line.sock.send(text, socket.MSG_DONTWAIT) == len(text):
                return
        except BlockingIOError:
            logger.warning("receivers of the worker's signals do not return: %r is not told", word)
            return
        except OSError:
            pass
        self._line.closed = True  # half a line is none

    def finish(self) -> None:
        """The node has ended: wait a moment for what receivers have to do. The rest ends with the template."""
        if self._line is None:
            return
        self.tell("ended")
        until = time.monotonic() + LAST_WORDS
        poll = select.poll()  # its number may be beyond what `select` takes, where runners are many
        poll.register(self._line, select.POLLIN)
        while not self._line.closed and (left := until - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self._line.said()
        if not self._line.closed:
            logger.warning("receivers of the worker's signals have not returned after %gs: the node ends", LAST_WORDS)
        self._line.close()
        self._line = None
