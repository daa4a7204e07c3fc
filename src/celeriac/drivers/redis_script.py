"""Lua files that run in the server: load once, call by hash. It knows nothing of what they do."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path
from time import monotonic
from typing import Any

from .redis import Command, Link, Pool, ReplyError, Word


class Script:
    """A script by its text. The server forgets scripts when it restarts, so every call can fall back to the text."""

    __slots__ = ("sha", "text")

    def __init__(self, *files: Path) -> None:
        """The text is that of all files, one after the other."""
        self.text = "\n".join(file.read_text(encoding="utf-8") for file in files)
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    @property
    def load(self) -> Command:
        return ("SCRIPT", "LOAD", self.text)

    def command(self, keys: list[str], *arguments: Word) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)

    def run(self, pool: Pool, keys: list[str], *arguments: Word, timeout: float) -> Any:
        """One call in one round trip, two if the server did not know the script.

        Raises: OperationalError, or what the pool raises for a refusal.
        """
        deadline = monotonic() + timeout
        link = pool.take(timeout)
        answer = self._ask(link, self.command(keys, *arguments), deadline)
        if is_missing(answer):
            # Nothing was done: the hash is looked up before anything runs.
            answer = self._ask(link, ("EVAL", self.text, len(keys), *keys, *arguments), deadline)
        pool.give(link)
        return link.check(answer)

    @staticmethod
    def _ask(link: Link, command: Command, deadline: float) -> Any:
        link.send(command, deadline=deadline)
        return link.read(1, deadline)[0]


def is_missing(answer: Any) -> bool:
    """The server does not know the script of this call."""
    return isinstance(answer, ReplyError) and str(answer).startswith("NOSCRIPT")
