"""`Message`: the one frozen value that travels, and `Record`, the one that stays. Pure data: it parses nothing."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

#: Headers of a task message (protocol 2) or of any other kombu message, exactly as on the wire.
Headers = dict[str, Any]


class Message(Struct, frozen=True):
    """A message as a broker carries it. Never mutate the dicts: make another with `msgspec.structs.replace`.

    `body` holds the serialized `[args, kwargs, embed]` (protocol 2) in `content_type`/`content_encoding`; it is
    already free of any transfer encoding (base64 belongs to the envelope). `properties` holds what AMQP calls
    properties: `correlation_id`, `reply_to`, `delivery_mode`, `priority`, `delivery_info`, ….
    """

    headers: Headers
    body: bytes
    properties: dict[str, Any]
    content_type: str = "application/json"
    content_encoding: str = "utf-8"


class Record(Struct, frozen=True):
    """A result on its way into the backend."""

    task_id: str
    document: bytes
    #: Seconds to keep it; None for ever.
    expires: float | None = 86400.0
    #: False for a state on the way (STARTED, RETRY, PROGRESS): it must never replace a final one.
    final: bool = True
