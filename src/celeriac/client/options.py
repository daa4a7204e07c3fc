"""`CallOptions`: the options of one call, merged once and checked, so that everything below reads plain fields.

It knows every option that Celery's `apply_async` takes: what this version does, what it cannot do yet (refused with
a text that says so) and, by that, what is a slip of the pen (refused with the nearest name). Celery lets an unknown
option travel as a message property, where nobody ever sees it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, NoReturn

from msgspec import Struct

from ..errors import ImproperlyConfigured
from ..foundation.suggest import did_you_mean

#: Options whose value goes into the `CallOptions` field of the same name, unchanged.
_FIELDS = frozenset(
    {
        "argsrepr",
        "chain",
        "chord",
        "compression",
        "countdown",
        "eta",
        "expires",
        "group_id",
        "group_index",
        "ignore_result",
        "kwargsrepr",
        "link",
        "link_error",
        "origin",
        "parent_id",
        "priority",
        "replaced_task_nesting",
        "reply_to",
        "retries",
        "retry",
        "retry_policy",
        "root_id",
        "serializer",
        "shadow",
        "soft_time_limit",
        "task_id",
        "time_limit",
        "timeout",
    }
)

#: AMQP properties that Celery passes on as they are.
_PROPERTIES = frozenset({"app_id", "correlation_id", "message_id", "timestamp", "type", "user_id"})

#: What this version cannot do, and what to do instead.
_NOT_YET = {
    "connection": "messages travel over the app's own connections; leave it out",
    "declare": "queues are declared as they are used; leave it out",
    "event_dispatcher": "events are not supported by this version; leave it out",
    "immediate": "RabbitMQ removed it in 3.0; leave it out",
    "mandatory": "it has no meaning for the brokers of this version; leave it out",
    "producer": "messages travel over the app's own connections; leave it out",
    "publisher": "messages travel over the app's own connections; leave it out",
    "router": "routers are not supported by this version; pass queue=",
}

#: Options that mean something only together with others, or to `apply_async` itself.
_HANDLED = frozenset(
    {
        "add_to_parent",
        "confirm_timeout",
        "delivery_mode",
        "exchange",
        "exchange_type",
        "expiration",
        "headers",
        "queue",
        "result_cls",
        "route_name",
        "routing_key",
        "stamped_headers",
        "task_type",
    }
)

KNOWN = _FIELDS | _PROPERTIES | _NOT_YET.keys() | _HANDLED

_DELIVERY_MODES = {"transient": 1, "persistent": 2, 1: 1, 2: 2}


class CallOptions(Struct):
    """Everything about a call but its name and arguments. None: not said.

    Times: `countdown` and a numeric `expires` in seconds from now, limits and `timeout` in seconds.
    """

    task_id: str | None = None
    queue: str | None = None
    priority: int | None = None
    serializer: str | None = None
    countdown: float | None = None
    eta: Any = None
    expires: Any = None
    ignore_result: bool | None = None
    headers: dict[str, Any] | None = None
    shadow: str | None = None
    link: Any = None
    link_error: Any = None
    chain: Any = None
    chord: Any = None
    group_id: str | None = None
    group_index: int | None = None
    retries: int = 0
    root_id: str | None = None
    parent_id: str | None = None
    reply_to: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    origin: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None
    replaced_task_nesting: int = 0
    #: Whether the result becomes a child of the task that makes the call.
    add_to_parent: bool = True
    #: Try publishing again, within `publish_timeout`, where the message was surely not sent; `retry_policy` says how.
    retry: bool | None = None
    retry_policy: Mapping[str, Any] | None = None
    #: Seconds for publishing, where shorter than the setting.
    timeout: float | None = None
    compression: str | None = None
    delivery_mode: int | None = None
    result_cls: Any = None
    properties: dict[str, Any] | None = None


def read(options: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> CallOptions:
    """The options of a call over the defaults of its task. A None among the options counts: it clears a default.

    Raises: TypeError (no such option, naming the nearest), ImproperlyConfigured (an option of Celery that this version
    does not honour).
    """
    merged = {**defaults, **options} if defaults else options
    stamps = merged.get("stamped_headers")
    made = CallOptions()
    for name, value in merged.items():
        if name in _FIELDS:
            setattr(made, name, value)
        elif name not in _HANDLED and not (stamps and name in stamps):
            _pass_on(made, name, value)
    _read_numbers(made)
    _read_rest(made, merged)
    return made


def _pass_on(made: CallOptions, name: str, value: Any) -> None:
    if name in _PROPERTIES:
        made.properties = {**(made.properties or {}), name: value}
    elif name in _NOT_YET:
        if value is not None and value is not False:
            raise ImproperlyConfigured(f"{name}={value!r}: {_NOT_YET[name]}")
    else:
        refuse(name)


def refuse(name: str, known: Iterable[str] = KNOWN) -> NoReturn:
    """Raise the TypeError for an option that does not exist."""
    raise TypeError(f"apply_async() got an unexpected option {name!r}{did_you_mean(name, known, 1)}")


def _read_numbers(made: CallOptions) -> None:
    # Celery sends retries=None for a signature that never said; the worker expects a number.
    made.retries = made.retries or 0
    made.replaced_task_nesting = made.replaced_task_nesting or 0
    countdown: object = made.countdown
    if countdown is not None and not isinstance(countdown, Real):
        raise TypeError(f"countdown must be a number of seconds, not {countdown!r}")
    priority: object = made.priority
    if priority is not None and not isinstance(priority, int):
        raise TypeError(f"priority must be a whole number, not {priority!r}")
    hard, soft = made.time_limit, made.soft_time_limit
    if hard and soft and soft > hard:
        raise ValueError("soft_time_limit must be less than or equal to time_limit")


def _read_rest(made: CallOptions, options: Mapping[str, Any]) -> None:
    get = options.get
    made.queue = _destination(get("queue"), get("exchange"), get("routing_key"))
    headers = get("headers")
    made.headers = dict(headers) if headers else None
    if options.get("add_to_parent") is not None:
        made.add_to_parent = bool(options["add_to_parent"])
    if made.timeout is None:
        made.timeout = get("confirm_timeout")
    mode = get("delivery_mode")
    if mode is not None:
        if mode not in _DELIVERY_MODES:
            raise ValueError(f"delivery_mode must be 'transient' (1) or 'persistent' (2), not {mode!r}")
        made.delivery_mode = _DELIVERY_MODES[mode]
    stamped = get("stamped_headers")
    if stamped:
        made.stamped_headers = list(stamped)
        made.stamps = {name: options[name] for name in stamped}
    made.result_cls = get("result_cls")


def _destination(queue: Any, exchange: Any, routing_key: Any) -> str | None:
    """The queue that Celery's three ways of addressing mean; None for the default one.

    Celery's own queues hang on a direct exchange of the same name, so an exchange with the same routing key is a
    queue's full address; a routing key alone changes nothing for a direct exchange. An object with a name
    (`kombu.Queue`) is taken by its name.
    """
    name = getattr(queue, "name", queue)
    exchange = getattr(exchange, "name", exchange)
    if exchange and exchange not in (name, routing_key):
        raise ImproperlyConfigured(
            f"exchange={exchange!r}: exchanges other than a queue's own are not supported by this version; pass queue="
        )
    if name is None and exchange:
        return str(exchange)
    return None if name is None else str(name)
