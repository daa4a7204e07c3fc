"""`Publisher`: from a call to a message in the broker, together with whatever other threads publish meanwhile.

`prepare` makes the message and `publish` sends it; a task that runs in a worker only prepares (its retry travels with
its settlement). It does not route beyond queues, keeps no results and holds no connection: the broker does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..brokers.base import Outgoing
from ..errors import OperationalError, QueueFull
from ..foundation.identifiers import uuid4_text
from ..foundation.urls import mask
from ..signals import before_task_publish
from . import announcing
from .current import worker_run
from .gathered import Gathered
from .group_commit import GroupCommit
from .options import CallOptions
from .template import Template

if TYPE_CHECKING:
    from .app import Celery

#: Sleeps that many seconds.
Sleep = Callable[[float], None]

#: Of the canvas that this thread is sending.
_gathered: ContextVar[Gathered | None] = ContextVar("celeriac_gathered", default=None)

#: Seconds between looks whether a full queue has room.
_FIRST_LOOK, _LONGEST_LOOK = 0.005, 0.1


class Publisher:
    """The way out for all calls of one app. Any thread may use it; a forked child goes on with it."""

    def __init__(self, app: Celery, sleep: Sleep | None = None) -> None:
        self._app = app
        self._sleep = sleep or threading.Event().wait
        self._commit = GroupCommit(self._send)
        #: Celery's "oid": where an rpc client would listen for replies.
        self.oid = uuid4_text()

    # -- making ----------------------------------------------------------------------------------------------

    def template(self, name: str, options: CallOptions) -> Template:
        """What all calls of the task `name` under `options` have in common.

        Raises: TypeError, ValueError (an instant that is none), EncodeError (a callback's arguments).
        """
        return Template(self._app, name, options, self.oid)

    def prepare(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        options: CallOptions | None = None,
        *,
        inherit: bool = True,
    ) -> Outgoing:
        """The message of one call, not sent. It inherits from the task that runs here, as every call does; a retry
        does not: it is that task."""
        options = options or CallOptions()
        template = self.template(name, options)
        inherited = self.inherited(template) if inherit else ()
        task_id = options.task_id or uuid4_text()
        if before_task_publish.receivers:
            return announcing.draft(template, task_id, args, kwargs, inherited).outgoing
        return template.outgoing(task_id, args, kwargs, *inherited)

    def inherited(self, template: Template) -> tuple[str | None, str | None, int | None]:
        """Root id, parent id and priority that the running task hands down to what it calls."""
        run = worker_run()
        if run is None or (template.root_id and template.parent_id):
            return None, None, None
        request = run.request
        priority = None
        if self._app.conf.task_inherit_parent_priority:
            priority = (request.delivery_info or {}).get("priority")
        return request.root_id or request.id, request.id, priority

    # -- together ----------------------------------------------------------------------------------------

    @contextmanager
    def gathering(self, *, hold: bool = False) -> Iterator[Gathered]:
        """Inside of it this thread publishes in batches as large as the broker takes; the last of them on leaving. With
        `hold` nothing is sent: the messages are whoever holds them's. One inside of another adds to the outer one.

        An error inside leaves unsent what has not filled a batch. Raises, on leaving: OperationalError.
        """
        outer = _gathered.get()
        if outer is not None and outer.owner is self:
            yield outer
            return
        gathered = Gathered(self, self._flush, lambda: self.largest_batch, hold=hold)
        token = _gathered.set(gathered)
        try:
            yield gathered
        finally:
            _gathered.reset(token)
        if not hold:
            gathered.flush()

    def _flush(
        self, messages: list[Outgoing], drafts: Sequence[announcing.Draft], sent: int, how: Mapping[str, Any]
    ) -> None:
        token = _gathered.set(None)
        try:
            self.publish(messages, **how)
        except (OperationalError, QueueFull) as error:
            error.add_note(f"{sent} messages of the same canvas had been sent before")
            raise
        finally:
            _gathered.reset(token)
        announcing.tell_published(drafts)

    # -- sending ---------------------------------------------------------------------------------------------

    def publish(
        self,
        messages: Sequence[Outgoing],
        *,
        timeout: float | None = None,
        retry: bool | None = None,
        retry_policy: Mapping[str, Any] | None = None,
    ) -> None:
        """Returns when the broker has them all. `timeout` (seconds) may shorten the setting `publish_timeout`.

        A message is tried again (`task_publish_retry`, `task_publish_retry_policy`) only where it surely was not sent,
        or where the broker recognises a repetition. Where a connection breaks with the answer outstanding the message
        may have been accepted: this raises then, and whoever called decides whether once more is better than never.

        Raises: OperationalError within the timeout; QueueFull, at once or (`queue_overflow` "block") at the timeout.
        Celery's guide: Calling tasks, "Message Sending Retry".
        """
        gathered = _gathered.get()
        if gathered is not None and gathered.owner is self:
            gathered.how = {"timeout": timeout, "retry": retry, "retry_policy": retry_policy}
            gathered.add(messages)
            return
        conf = self._app.conf
        limit = conf.publish_timeout if timeout is None else min(timeout, conf.publish_timeout)
        began = monotonic()
        deadline = began + limit
        try:
            try:
                self._commit.publish(messages, deadline)
            except OperationalError as error:
                retries = conf.task_publish_retry if retry is None else retry
                self._try_again(messages, began, deadline, error, self.retry_policy(retry_policy) if retries else None)
        except QueueFull as full:
            if conf.queue_overflow != "block" or full.hopeless:
                raise
            self._wait_for_room(messages, deadline)

    def retry_policy(self, own: Mapping[str, Any] | None) -> dict[str, Any]:
        """`task_publish_retry_policy`, with what the call says over it."""
        return {**(self._app.conf.task_publish_retry_policy or {}), **(own or {})}

    def announce(
        self,
        template: Template,
        calls: Iterable[tuple[str, Any, Any]],
        inherited: Sequence[Any],
        *,
        timeout: float | None = None,
        retry: bool | None = None,
        retry_policy: Mapping[str, Any] | None = None,
    ) -> None:
        """Make and publish calls (task id, args, kwargs) whose publishing somebody listens to. Raises: as `publish`."""
        policy = self.retry_policy(retry_policy)
        drafts = [
            announcing.draft(template, task_id, args, kwargs, inherited, policy) for task_id, args, kwargs in calls
        ]  # all of them first: one that cannot be written is found before any is sent
        gathered = _gathered.get()
        if gathered is not None and gathered.owner is self:
            gathered.how = {"timeout": timeout, "retry": retry, "retry_policy": retry_policy}
            gathered.add([one.outgoing for one in drafts], drafts)
            return
        size = self.largest_batch
        for start in range(0, len(drafts), size):
            batch = drafts[start : start + size]
            try:
                self.publish([one.outgoing for one in batch], timeout=timeout, retry=retry, retry_policy=policy)
            except (OperationalError, QueueFull) as error:
                if len(drafts) > 1:
                    error.add_note(f"{start} of {len(drafts)} messages had been sent before")
                raise
            announcing.tell_published(batch)

    def _wait_for_room(self, messages: Sequence[Outgoing], deadline: float) -> None:
        """A look now and then: each is one call to the broker, ten a second at most."""
        pause = _FIRST_LOOK
        while True:
            self._sleep(max(0.0, min(pause, deadline - monotonic())))
            pause = min(1.5 * pause, _LONGEST_LOOK)
            try:
                # The last look has a moment too: its answer must be waited for.
                return self._commit.publish(messages, max(deadline, monotonic() + _LONGEST_LOOK))
            except QueueFull:
                if monotonic() >= deadline:
                    raise
            except OperationalError as error:
                raise self._explained(error, 1) from error

    def _try_again(
        self,
        messages: Sequence[Outgoing],
        began: float,
        deadline: float,
        error: OperationalError,
        policy: Mapping[str, Any] | None,
    ) -> None:
        tries = 1
        while policy is not None and self._may_repeat(error):
            wait, now = _interval(policy, tries), monotonic()
            # A server that accepts connections and says nothing costs each try the same: the next one must fit in.
            if wait is None or now + wait + (now - began) >= deadline:
                break
            self._sleep(wait)
            tries, began = tries + 1, monotonic()
            try:
                self._commit.publish(messages, deadline)
            except OperationalError as again:
                error = again
            else:
                return
        raise self._explained(error, tries) from error

    def _may_repeat(self, error: OperationalError) -> bool:
        if error.unsent:
            return True
        return bool(getattr(self._app.broker.capabilities, "idempotent_publish", False))

    def _explained(self, error: OperationalError, tries: int) -> OperationalError:
        where = mask(str(self._app.broker_url))
        often = f" ({tries} tries)" if tries > 1 else ""
        made = OperationalError(f"cannot publish to {where}{often}: {mask_in(str(error), str(self._app.broker_url))}")
        made.unsent = error.unsent
        return made

    def _send(self, messages: Sequence[Outgoing], deadline: float) -> None:
        self._app.broker.publish(messages, max(0.0, deadline - monotonic()))

    @property
    def largest_batch(self) -> int:
        """The most messages that the broker takes in one round trip."""
        return max(1, self._app.broker.capabilities.largest_batch)


def mask_in(text: str, url: str) -> str:
    """`text` without the password of `url`, should a library have quoted it."""
    return text.replace(url, mask(url)) if url else text


def _interval(policy: Mapping[str, Any], tries: int) -> float | None:
    """Seconds before the try after `tries` tries, or None for no more: kombu's policy."""
    most = policy.get("max_retries")
    if most is not None and tries > most:
        return None
    start, step, longest = (
        float(policy.get(k) or d) for k, d in (("interval_start", 0), ("interval_step", 0), ("interval_max", 0))
    )
    return min(start + step * (tries - 1), longest) if longest else start + step * (tries - 1)
