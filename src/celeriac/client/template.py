"""`Template`: everything about a call that does not change from one message to the next, worked out once.

A task that is called without options has one template for life; `send_many` has one for its batch. What is left per
message is a body, a few headers and two dict copies. Nothing is sent from here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..brokers.base import Outgoing
from ..errors import ImproperlyConfigured
from ..foundation.identifiers import anonymous_name
from ..wire import compression, protocol2
from ..wire.message import Headers, Message
from ..wire.representation import represent
from . import instants
from .options import CallOptions

if TYPE_CHECKING:
    from .app import Celery

logger = logging.getLogger("celery.app.base")

#: Longest `argsrepr` and `kwargsrepr`, in characters, as in Celery.
_REPR = 1024


#: Body, content type, content encoding, argsrepr, kwargsrepr. A tuple of atoms: the garbage collector, which would
#: otherwise take half of the time of a large batch, lets go of it.
Encoded = tuple[bytes, str, str, str, str]


class Template:
    """The constant part of calls of one task under the same options."""

    __slots__ = (
        "_argsrepr",
        "_correlation_id",
        "_headers",
        "_kwargsrepr",
        "_levels",
        "_properties",
        "compression",
        "due",
        "embed",
        "generation",
        "ignore_result",
        "name",
        "parent_id",
        "priority",
        "queue",
        "root_id",
        "serializer",
        "timed",
    )

    def __init__(self, app: Celery, name: str, options: CallOptions, reply_to: str = "") -> None:
        conf = app.conf
        self.name = name
        #: Of the process; its owner sets and reads it (see `calling`).
        self.generation = 0
        self.queue = options.queue or str(conf.task_default_queue)
        self.priority = options.priority
        self.root_id = options.root_id
        self.parent_id = options.parent_id
        self.ignore_result = options.ignore_result
        self.serializer = options.serializer or conf.task_serializer
        if conf.task_routes:
            # Passed over in silence it would send every message to the wrong queue.
            raise ImproperlyConfigured("task_routes is not supported by this version: give queue= here or to the task")
        self.compression = options.compression or conf.task_compression
        self._correlation_id = (options.properties or {}).get("correlation_id")
        self._levels = conf.task_repr_maxlevels
        self._argsrepr = options.argsrepr
        self._kwargsrepr = options.kwargsrepr
        #: The message depends on the present: it may be used for one moment only.
        self.timed = bool(options.countdown) or options.expires is not None
        eta, expires = _instants(app, options)
        self.due = instants.epoch(eta) if eta else None
        self.embed = {
            "callbacks": as_list(options.link),
            "errbacks": as_list(options.link_error),
            "chain": options.chain,
            "chord": options.chord,
        }
        first = self._first(options, eta, expires, reply_to, conf.task_default_delivery_mode)
        self._headers = first.headers
        self._properties = first.properties

    def _first(
        self, options: CallOptions, eta: str | None, expires: str | None, reply_to: str, delivery_mode: Any
    ) -> Message:
        """A message with nobody's id and arguments; the copies differ from it in those."""
        left = instants.epoch(expires) - datetime.now(UTC).timestamp() if expires else None
        if left is not None and left < 0:
            logger.warning("a call of %s is published %.1f s after it expires (%s)", self.name, -left, expires)
        mode = options.delivery_mode or delivery_mode
        return protocol2.build(
            self.name,
            "",
            b"",
            group=options.group_id,
            group_index=options.group_index,
            retries=options.retries,
            eta=eta,
            expires=expires,
            timelimit=(options.time_limit, options.soft_time_limit),
            origin=options.origin or anonymous_name(),
            ignore_result=options.ignore_result,
            shadow=options.shadow,
            reply_to=options.reply_to or reply_to,
            priority=self.priority,
            delivery_mode=1 if mode in ("transient", 1) else 2,
            expiration=None if left is None else max(0.0, left),
            headers=options.headers,
            properties=options.properties,
            stamped_headers=options.stamped_headers,
            stamps=options.stamps,
            replaced_task_nesting=options.replaced_task_nesting,
        )

    def outgoing(
        self,
        task_id: str,
        args: Any,
        kwargs: Any,
        root_id: str | None = None,
        parent_id: str | None = None,
        priority: int | None = None,
    ) -> Outgoing:
        """The message of one call. `root_id`, `parent_id` and `priority` are what the running task hands down.

        Raises: TypeError (args or kwargs are no such thing), EncodeError (naming the argument).
        """
        return self.message(task_id, self.encode(args, kwargs), root_id, parent_id, priority)

    def encode(self, args: Any, kwargs: Any) -> Encoded:
        """The part of a message that can fail. Raises: as `outgoing`."""
        args = args or ()
        kwargs = kwargs or {}
        return (*protocol2.body(args, kwargs, self.embed, self.serializer), *self.shown(args, kwargs))

    def shown(self, args: Any, kwargs: Any) -> tuple[str, str]:
        """`argsrepr` and `kwargsrepr`."""
        return (
            self._argsrepr or represent(args, _REPR, self._levels),
            self._kwargsrepr or represent(kwargs, _REPR, self._levels),
        )

    def message(
        self,
        task_id: str,
        encoded: Encoded,
        root_id: str | None = None,
        parent_id: str | None = None,
        priority: int | None = None,
    ) -> Outgoing:
        """The message around what `encode` made."""
        body, content_type, content_encoding, *shown = encoded
        headers, properties, priority = self.draft(task_id, shown, root_id, parent_id, priority)
        if self.compression:
            body, headers["compression"] = compression.compress(body, self.compression)
        return Outgoing(
            self.queue, Message(headers, body, properties, content_type, content_encoding), priority, self.due
        )

    def draft(
        self,
        task_id: str,
        shown: Sequence[str],
        root_id: str | None = None,
        parent_id: str | None = None,
        priority: int | None = None,
    ) -> tuple[Headers, dict[str, Any], int | None]:
        """Headers, properties and priority of one message."""
        headers = self._headers.copy()
        headers["id"] = task_id
        headers["root_id"] = self.root_id or root_id or task_id
        headers["parent_id"] = self.parent_id or parent_id
        headers["argsrepr"], headers["kwargsrepr"] = shown
        properties = self._properties.copy()
        properties["correlation_id"] = self._correlation_id or task_id
        if priority is not None and self.priority is None:
            properties["priority"] = priority
        else:
            priority = self.priority
        return headers, properties, priority


def _instants(app: Celery, options: CallOptions) -> tuple[str | None, str | None]:
    if options.countdown is None and options.eta is None and options.expires is None:
        return None, None
    now, zone = datetime.now(UTC), app.timezone
    return instants.not_before(options.countdown, options.eta, now, zone), instants.not_after(
        options.expires, now, zone
    )


def as_list(signatures: Any) -> list[Any] | None:
    """One signature or several as a list of plain mappings, or None: how `link` and `link_error` travel."""
    if signatures is None:
        return None
    if isinstance(signatures, Mapping) or not isinstance(signatures, Iterable):
        signatures = [signatures]
    return [_plain(signature) for signature in signatures]


def _plain(signature: Any) -> dict[str, Any]:
    if not isinstance(signature, Mapping):
        raise TypeError(f"link and link_error take signatures (task.s(...)), not {signature!r}")
    return dict(signature)
