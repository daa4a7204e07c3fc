"""Publishing where somebody listens: `before_task_publish` may change headers, body and properties,
`after_task_publish` tells what the broker has. Where nobody listens nothing of this is called: whoever publishes looks
at `receivers` first.

It sends nothing by itself; a worker's follow-ups are announced as published once their settlement is accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ..brokers.base import Outgoing
from ..signals import after_task_publish, before_task_publish, task_sent
from ..wire import compression, protocol2
from ..wire.message import Message
from . import instants

if TYPE_CHECKING:
    from .template import Template

__all__ = ["Draft", "draft", "published", "tell_published"]


class Draft(Struct, frozen=True):
    """A message as receivers have left it, and its body before it was written."""

    outgoing: Outgoing
    body: tuple[Any, dict[str, Any], dict[str, Any]]


def draft(
    template: Template,
    task_id: str,
    args: Any,
    kwargs: Any,
    inherited: Sequence[Any] = (),
    retry_policy: dict[str, Any] | None = None,
) -> Draft:
    """Make one message by way of the receivers of `before_task_publish`. What they change is what is sent.

    `retry_policy` is shown to them, and theirs to change as well. Raises: as `Template.outgoing`.
    """
    body = _body(template, args, kwargs)
    headers, properties, priority = template.draft(task_id, template.shown(args or (), kwargs or {}), *inherited)
    before = properties.get("priority"), headers.get("eta")
    before_task_publish.send(
        sender=template.name,
        body=body,
        exchange="",
        routing_key=template.queue,
        declare=[],
        headers=headers,
        properties=properties,
        retry_policy={} if retry_policy is None else retry_policy,
    )
    due = template.due
    if (properties.get("priority"), headers.get("eta")) != before:
        priority = properties.get("priority")
        due = instants.epoch(str(headers["eta"])) if headers.get("eta") else None
    data, content_type, content_encoding = protocol2.body(*body, template.serializer)
    if template.compression:
        data, headers["compression"] = compression.compress(data, template.compression)
    message = Message(headers, data, properties, content_type, content_encoding)
    return Draft(Outgoing(template.queue, message, priority, due), body)


def tell_published(drafts: Iterable[Draft]) -> None:
    """The broker has these."""
    if after_task_publish.receivers or task_sent.receivers:
        for one in drafts:
            _tell(one.outgoing, one.body)


def published(outgoings: Iterable[Outgoing]) -> None:
    """The broker has these, of which only the written body is left: a worker's follow-ups."""
    for outgoing in outgoings:
        message = outgoing.message
        _tell(outgoing, protocol2.read_body(message, frozenset({message.content_type})))


def _tell(outgoing: Outgoing, body: tuple[Any, Any, Any]) -> None:
    headers = outgoing.message.headers
    name = headers.get("task")
    after_task_publish.send(sender=name, body=body, headers=headers, exchange="", routing_key=outgoing.queue)
    if task_sent.receivers:
        task_sent.send(
            sender=name,
            task_id=headers.get("id"),
            task=name,
            args=body[0],
            kwargs=body[1],
            eta=headers.get("eta"),
            taskset=headers.get("group"),
        )


def _body(template: Template, args: Any, kwargs: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Copies: a receiver changes this message, not what the caller goes on using, nor the next message."""
    embed = {key: list(value) if isinstance(value, list) else value for key, value in template.embed.items()}
    return (args if isinstance(args, tuple) else list(args or ())), dict(kwargs or {}), embed
