"""`--reload`: tells when the source of loaded modules changes. For development; it loads nothing itself.

A thread of the supervisor. It watches with `watchfiles` where that is installed, else it looks at the files' times once
a second. Changes that come close together (a checkout, an editor's two writes) are one.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger("celeriac.worker.reload")

#: Seconds between looks, and for which nothing may have changed before anything is done.
LOOK, QUIET = 1.0, 0.3


class Watch(threading.Thread):
    """`changed` is called from this thread. `files` may be set again at any time."""

    def __init__(self, files: Iterable[str], changed: Callable[[], None], *, look: float = LOOK) -> None:
        super().__init__(name="reload", daemon=True)
        self.files = frozenset(files)
        self._changed = changed
        self._look = look
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        try:
            from watchfiles import watch  # type: ignore[import-not-found,unused-ignore]  # not ours to require
        except ImportError:
            self._poll()
            return
        for changes in watch(os.getcwd(), stop_event=self._stopped, debounce=int(QUIET * 2000)):
            paths = {path for _, path in changes}
            if paths & self.files:
                self._tell(paths & self.files)

    def _poll(self) -> None:
        files, times = self.files, stamps(self.files)
        while not self._stopped.wait(self._look):
            if self.files is not files:  # more or others: those that were known keep the time that was seen
                files = self.files
                times = {**stamps(files), **{path: at for path, at in times.items() if path in files}}
            now = stamps(files)
            different = {path for path in files if now.get(path) != times.get(path)}
            if different:
                times = self._settled(files, now)
                self._tell(different)

    def _settled(self, files: frozenset[str], seen: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Wait until nothing changes any more, a few seconds at most."""
        for _ in range(20):
            if self._stopped.wait(QUIET):
                break
            now = stamps(files)
            if now == seen:
                break
            seen = now
        return seen

    def _tell(self, paths: Iterable[str]) -> None:
        names = ", ".join(sorted(os.path.relpath(path) for path in paths)[:3])
        logger.warning("changed: %s", names)
        self._changed()


def stamps(files: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Time and size of each file that is there."""
    found = {}
    for path in files:
        with suppress(OSError):
            status = os.stat(path)
            found[path] = (status.st_mtime_ns, status.st_size)
    return found


def sources(modules: Iterable[object], folder: str) -> list[str]:
    """The source files of modules that lie under a folder, without what is installed there (`site-packages`)."""
    root, found = Path(folder).resolve(), set()
    for module in modules:
        name = getattr(module, "__file__", None)
        if isinstance(name, str) and name.endswith(".py"):
            path = Path(name).resolve()
            if path.is_relative_to(root) and "site-packages" not in path.parts:
                found.add(str(path))
    return sorted(found)
