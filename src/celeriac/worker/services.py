"""What a node does beside running tasks: health, word to systemd, stacks, reload. Wiring; each part decides for itself.

It is told by the supervisor's loop and must not hold it up. Where nothing of it is asked for, a tick costs two tests.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from .daemon import Station, reopen_streams
from .health import HealthServer, Vitals
from .notify import Notifier
from .options import WorkerOptions
from .plan import Plan
from .reload import Watch
from .supervisor.stacks import Stacks

if TYPE_CHECKING:
    from .conviction import Conviction
    from .supervisor.board import Board
    from .supervisor.post import Post
    from .supervisor.supervisor import Supervisor
    from .supervisor.upkeep import Upkeep

logger = logging.getLogger("celeriac.worker")

#: What a node is made for: new code that wants another needs another node.
FIXED = ("broker", "backend", "queues", "pool", "processes", "lanes", "lease")


class Services:
    """Made before the template is heard, for health is served from then on; then `watch`, then `open`."""

    _supervisor: Supervisor
    _upkeep: Upkeep
    _stacks: Stacks
    _plan: Plan
    _conviction: Conviction

    def __init__(self, options: WorkerOptions, station: Station, door: socket.socket | None) -> None:
        self._options = options
        self._station = station
        self._notifier = Notifier()
        self._vitals = Vitals(options.hostname or "")
        self._door = door
        self._files: list[str] = []
        self._watch: Watch | None = None
        self._node = ""
        if door is not None:
            HealthServer(door, self._vitals).start()

    def watch(self, files: Iterable[str]) -> None:
        """The app's source files, where they are to be watched."""
        self._files = list(files)

    def open(
        self,
        node: str,
        supervisor: Supervisor,
        upkeep: Upkeep,
        board: Board,
        plan: Plan,
        conviction: Conviction,
        post: Post,
    ) -> None:
        self._node = self._vitals.node = node
        self._supervisor, self._upkeep, self._plan, self._conviction = supervisor, upkeep, plan, conviction
        self._stacks = Stacks(board.stacks)
        if self._door is not None:
            upkeep.count_backlog()
            logger.info("health is served on %s port %d", *self._door.getsockname()[:2])
        if self._options.reload:
            self._watch = Watch(self._files, lambda: post.put(supervisor.renewal.begin))
            self._watch.start()

    # -- what the loop tells -----------------------------------------------------------------------------------------

    @property
    def signals(self) -> Mapping[int, Callable[[], None]]:
        """What is done on signals that do not stop the node."""
        found: dict[int, Callable[[], None]] = {signal.SIGUSR1: self._ask_stacks}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` means it
            found[signal.SIGHUP] = self._hang_up
        return found

    def ready(self, node: str) -> None:
        logger.info("%s ready.", node)
        self._station.ready()
        self._notifier.ready(f"{node} ready")

    def stopping(self, sig: str, how: str, code: int) -> None:
        self._notifier.stopping()
        if self._watch is not None:
            self._watch.stop()

    def tick(self, now: float) -> None:
        self._notifier.alive(now)
        if self._door is not None:
            self._vitals.backlog = self._upkeep.backlog
            self._supervisor.write_down(self._vitals, now)

    # -- the app anew ------------------------------------------------------------------------------------------------

    def accept(self, hello: dict[str, Any]) -> str:
        """Why the new code cannot be run by this node; empty: it can, and its plan is what counts from here on."""
        plan = msgspec.convert(hello["plan"], Plan)
        changed = [name for name in FIXED if getattr(plan, name) != getattr(self._plan, name)]
        if changed:
            return f"{', '.join(changed)} changed: that takes a restart of the node"
        self._plan = plan
        self._conviction.renew(plan)
        if self._watch is not None:
            self._watch.files = frozenset(hello["files"])
        return ""

    def renewed(self) -> None:
        self._notifier.ready(f"{self._node} ready")

    def _hang_up(self) -> None:
        """New code and new log files; but the end of a terminal is the end of what was started there."""
        if sys.stdout is not None and sys.stdout.isatty():
            self._supervisor.hung_up()
            return
        reopen_streams(self._options)  # the log's own files are followed wherever they are moved
        self._notifier.reloading()
        self._supervisor.renewal.begin()

    def _ask_stacks(self) -> None:
        self._stacks.ask(self._supervisor.crew.processes())
