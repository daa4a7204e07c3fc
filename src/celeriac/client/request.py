"""`Context`: what a task knows about its present run (`self.request`). Data only: it sends and stores nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..brokers.base import Outgoing
    from ..wire.message import Message
    from .result import AsyncResult

#: What a broker adds about dead-lettering; RabbitMQ takes a message that carries them for a loop and drops it.
_DEATH_HEADERS = frozenset(
    {
        "x-death",
        "x-first-death-exchange",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-last-death-queue",
        "x-last-death-reason",
    }
)

#: Protocol headers that are no request attributes and no headers of the user either.
_WIRE_ONLY = frozenset({"lang", "task", "argsrepr", "kwargsrepr", "compression"})


class Context:
    """The request of a running task; attribute names and defaults are Celery's (guide: Tasks, "Task Request").

    Built from a delivery by `from_message`, or from any mapping: `Context(headers, args=..., kwargs=...)`.
    Headers that the protocol does not know are the user's own and end up in `headers`, as well as being attributes.
    """

    args: Any = None
    callbacks: Any = None
    called_directly = True
    chain: Any = None
    chord: Any = None
    correlation_id: str | None = None
    delivery_info: dict[str, Any] | None = None
    errbacks: Any = None
    eta: str | None = None
    expires: Any = None
    group: str | None = None
    group_index: int | None = None
    headers: dict[str, Any] | None = None
    hostname: str | None = None
    id: str | None = None
    ignore_result: bool | None = False
    is_eager = False
    kwargs: Any = None
    logfile: str | None = None
    loglevel: int | None = None
    origin: str | None = None
    parent_id: str | None = None
    properties: dict[str, Any] | None = None
    retries = 0
    reply_to: str | None = None
    replaced_task_nesting = 0
    root_id: str | None = None
    shadow: str | None = None
    taskset: str | None = None
    timelimit: Any = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    utc: bool | None = None
    stamped_headers: Any = None
    stamps: Any = None

    #: Messages that belong to the settlement of this run: `Task.retry` adds its own here. The worker publishes them
    #: in the step that acknowledges; nothing else may.
    _follow_ups: list[Outgoing] | None = None
    _children: list[AsyncResult[Any]] | None = None
    _protected = 0
    #: `Task.replace` has put another call in its place, which ends for it.
    _replaced = False
    #: What `Task.progress` has said of this run (`reporting`).
    _report: Any = None
    #: Set by `retry(max_retries=...)`, so that an automatic retry behind it keeps to the same limit.
    _max_retries_override: int | None = None

    def __init__(self, *args: Mapping[str, Any] | Iterable[tuple[str, Any]], **kwargs: Any) -> None:
        self.update(*args, **kwargs)
        if self.headers is None:
            self.headers = _custom_headers(dict(*args, **kwargs))

    @classmethod
    def from_message(
        cls,
        message: Message,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        embed: Mapping[str, Any],
        *,
        hostname: str | None = None,
        redelivered: bool = False,
    ) -> Context:
        """The request of a delivery: headers of a protocol-2 `message`, its decoded body, and where it came from."""
        headers, properties = message.headers, message.properties
        info = properties.get("delivery_info") or {}
        request = cls.__new__(cls)
        attributes = request.__dict__
        attributes.update(headers)
        attributes["headers"] = None if headers.keys() <= _OWN else _custom_headers(headers)
        attributes["args"] = args
        attributes["kwargs"] = kwargs
        for name in ("callbacks", "errbacks", "chain", "chord"):
            attributes[name] = embed.get(name)
        attributes["called_directly"] = False
        attributes["hostname"] = hostname
        attributes["correlation_id"] = properties.get("correlation_id")
        attributes["reply_to"] = properties.get("reply_to")
        attributes["properties"] = properties
        attributes["delivery_info"] = {
            "exchange": info.get("exchange"),
            "routing_key": info.get("routing_key"),
            "priority": properties.get("priority"),
            "redelivered": redelivered,
        }
        limits = headers.get("timelimit")
        if limits and len(limits) >= 2:
            attributes["time_limit"], attributes["soft_time_limit"] = limits[0], limits[1]
        return request

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As `dict.update`, on the attributes. A `timelimit` [hard, soft] sets both limits (seconds)."""
        before = self.__dict__.get("timelimit", _UNSET)
        self.__dict__.update(*args, **kwargs)
        limits = self.__dict__.get("timelimit", _UNSET)
        if limits is before:
            return
        if isinstance(limits, (list, tuple)) and len(limits) >= 2:
            self.time_limit, self.soft_time_limit = limits[0], limits[1]
        else:
            self.time_limit = self.soft_time_limit = None

    def clear(self) -> None:
        """Forget everything; the defaults remain."""
        self.__dict__.clear()

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute, or `default`."""
        return getattr(self, key, default)

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"

    @property
    def children(self) -> list[AsyncResult[Any]]:
        """Results of the tasks that this run has called."""
        if self._children is None:
            self._children = []
        return self._children

    @property
    def follow_ups(self) -> list[Outgoing]:
        """What this run has put by for its settlement (see `_follow_ups`)."""
        if self._follow_ups is None:
            self._follow_ups = []
        return self._follow_ups

    def ignores_result(self, default: bool | None) -> bool | None:
        """The caller's word on `ignore_result` where there is one, else `default` (the task's)."""
        said = self.__dict__.get("ignore_result")
        return default if said is None else said

    def as_execution_options(self) -> dict[str, Any]:
        """`apply_async` options under which the same call would be sent again: what a retry keeps."""
        hard, soft = self.timelimit or (None, None)
        options: dict[str, Any] = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": {k: v for k, v in (self.headers or {}).items() if k not in _DEATH_HEADERS},
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamps is not None and self.stamped_headers is not None:
            options["stamped_headers"] = self.stamped_headers
            options.update((k, v) for k, v in self.stamps.items() if k in self.stamped_headers)
        return options


_UNSET = object()
_OWN = frozenset(vars(Context)) | _WIRE_ONLY


def _custom_headers(headers: dict[str, Any]) -> dict[str, Any] | None:
    custom = {k: v for k, v in headers.items() if k not in _OWN}
    return custom or None
