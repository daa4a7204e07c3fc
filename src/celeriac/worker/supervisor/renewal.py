"""Renewal: the app loaded anew under a running node (SIGHUP, `--reload`). Part of the supervisor's loop; never waits.

A new template loads the code while everything goes on. If it can, the runners are relieved one by one: a successor is
started beside each, the old one is told to stop when the successor is ready, and the successor begins when the old
one's task has ended. If it cannot - the code does not load, or its runners die before they are ready - what runs goes
on and the log says why.
"""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable
from typing import Any

from .crew import Crew
from .process import Mode, RunnerHandle, Template

logger = logging.getLogger("celeriac.worker")


class Renewal:
    """`accept` is shown what the new template says of its code, and says why it cannot be run here; empty: it can.

    `many`: a runner runs many tasks at a time. Its successor begins at once then, with the lanes that are free there,
    for it would wait for the longest of them.
    """

    def __init__(
        self,
        crew: Crew,
        selector: selectors.BaseSelector,
        new_template: Callable[[], Template],
        accept: Callable[[dict[str, Any]], str],
        done: Callable[[], None],
        *,
        many: bool,
    ) -> None:
        self._crew = crew
        self._selector = selector
        self._new_template = new_template
        self._accept = accept
        self._done = done
        self._many = many
        #: Loads the code.
        self._next: Template | None = None
        #: What is gone back to if the new code's runners cannot start; None: no renewal is under way.
        self._before: Template | None = None
        self._again = False
        #: Old runners whose successors are being started.
        self._relieved: set[str] = set()

    def begin(self) -> None:
        """Now; where one is under way, its code may be older than what is meant: once more after it."""
        if self._crew.stopping:
            return
        if self._before is not None:
            self._again = True
            return
        self._drop_next()
        logger.warning("loading the app anew")
        self._next = self._new_template()
        self._selector.register(self._next.line, selectors.EVENT_READ, self._said)

    def stop(self) -> None:
        """The node stops: nothing is renewed any more."""
        self._drop_next()
        self._before = None

    # -- the new template --------------------------------------------------------------------------------------------

    def _said(self) -> None:
        template = self._next
        assert template is not None
        for word, more in template.line.said():
            if word == "hello":
                self._loaded(template, more)
                return
            if word == "failed":
                logger.error("the app cannot be loaded, what runs goes on:\n%s", more["error"])
                self._give_up()
                return
        if template.line.closed:
            logger.error("the app cannot be loaded, what runs goes on: the process that loads it is gone")
            self._give_up()

    def _loaded(self, template: Template, more: dict[str, Any]) -> None:
        if refusal := self._accept(more):
            logger.error("the app is not loaded anew, what runs goes on: %s", refusal)
            self._give_up()
            return
        if more["warning"]:
            logger.warning("%s", more["warning"])
        self._selector.unregister(template.line)
        self._next = None
        self._before = self._crew.adopt(template)

    def _give_up(self) -> None:
        self._drop_next()
        self._done()

    def _drop_next(self) -> None:
        if self._next is not None:
            self._selector.unregister(self._next.line)
            self._next.process.kill()
            self._next.close()
            self._next = None

    # -- its runners -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Relieve the next one, once nobody is on the way."""
        if self._before is None or self._crew.busy_starting:
            return
        old = [each for each in self._crew.ready() if self._is_old(each)]
        if old:
            self._relieve(old[0])
            return
        if self._drop_old_successors():
            return
        self._before = None
        self._relieved.clear()
        logger.warning("the app is loaded anew: every runner has its new code, or a successor that has")
        self._done()
        if self._again:
            self._again = False
            self.begin()

    def _drop_old_successors(self) -> bool:
        """Those that were forked before, and wait for their predecessors to end: they hold nothing, and others take
        their place. Returns whether there are any."""
        waiting = [each for each in self._crew.runners.values() if each.standby and self._is_from_before(each)]
        for each in waiting:
            if each.consumer not in self._relieved:
                self._relieved.add(each.consumer)
                each.line.say("stop")
        return bool(waiting)

    def _is_from_before(self, handle: RunnerHandle) -> bool:
        return handle.template is not self._crew.template

    def _is_old(self, handle: RunnerHandle) -> bool:
        known = handle.leaving or handle.consumer in self._relieved
        return self._is_from_before(handle) and not known

    def ready(self, handle: RunnerHandle) -> None:
        """A runner is ready: whom it relieves is told to stop."""
        predecessor = self._crew.predecessor(handle)
        if predecessor is not None and predecessor.consumer in self._relieved:
            predecessor.line.say("stop")
            if self._many:
                self._crew.inherit(predecessor.consumer)

    def died_early(self, handle: RunnerHandle) -> None:
        """A runner ended before it was ready, and not for want of the broker."""
        if self._before is not None and handle.mode is Mode.STARTING and handle.template is self._crew.template:
            logger.error("the runners of the new code die before they are ready: going back to the code before")
            self._crew.adopt(self._before)
            self._before = None
            self._done()

    def _relieve(self, handle: RunnerHandle) -> None:
        self._relieved.add(handle.consumer)
        self._crew.succeed(handle)
        if not handle.leaving:  # no room for a second one: its successor comes when it has ended
            handle.line.say("stop")
