"""Stamps: headers that are put on every call of a canvas, and go wherever it goes. Celery's guide: Canvas, "Stamping".

A stamp is an option of the signature whose name stands in `stamped_headers`; a visitor is asked at each place what to
add.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from . import kinds
from .signature import Signature, as_list, kind_of, maybe_signature

__all__ = ["GroupStampingVisitor", "StampingVisitor"]

#: The option that names the others.
NAMES = "stamped_headers"

Headers = dict[str, Any]


class StampingVisitor(ABC):
    """Says with what a canvas is stamped. Every method gets the signature and the stamps so far, and returns those to
    add: all of them count, or those that it names in `stamped_headers`."""

    def on_group_start(self, group: Any, **headers: Any) -> Headers:
        """Before a group's members."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027 - most need none
        """After them."""

    def on_chain_start(self, chain: Any, **headers: Any) -> Headers:
        """Before a chain's steps."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027 - most need none
        """After them."""

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> Headers:
        """At each call of a task."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> Headers:
        """Before a chord's members; as `on_group_start` of their group."""
        if kind_of(sig.tasks) != "group":
            sig.tasks = kinds.load("group")(sig.tasks)
        return self.on_group_start(sig.tasks, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """After them; as `on_group_end`."""
        self.on_group_end(sig.tasks, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> Headers:
        """Before a chord's body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> Headers:
        """At each callback."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> Headers:
        """At each errback."""
        return {}


class GroupStampingVisitor(StampingVisitor):
    """Stamps each call with the ids of the groups around it, as `groups`. (Of Celery's early 5.3; not in 5.7.)"""

    def __init__(self, groups: list[str] | None = None, stamped_headers: list[str] | None = None) -> None:
        self.groups = list(groups or ())
        self.stamped_headers = [*(stamped_headers or ()), *(() if "groups" in (stamped_headers or ()) else ("groups",))]

    def on_group_start(self, group: Any, **headers: Any) -> Headers:
        """One more group around what comes."""
        if group.id is None:
            group.set(task_id=group.freeze().id)
        if group.id not in self.groups:
            self.groups.append(group.id)
        return {"groups": list(self.groups), NAMES: list(self.stamped_headers)}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        """One less."""
        if group.id in self.groups:
            self.groups.remove(group.id)

    def on_signature(self, sig: Any, **headers: Any) -> Headers:
        """The groups around it."""
        return {"groups": list(self.groups), NAMES: list(self.stamped_headers)}


def merged(first: Mapping[str, Any], second: Mapping[str, Any], append: bool) -> Headers:
    """Both, as Celery merges: the first wins, lists are joined, and with `append` values of one name become a list."""
    made = dict(first)
    for name, value in second.items():
        made[name] = _both(made[name], value, append) if name in made else value
    return made


def _both(mine: Any, other: Any, append: bool) -> Any:
    if isinstance(mine, dict):
        return merged(mine, other, append) if isinstance(other, Mapping) else mine
    if append and isinstance(mine, (int, float, str)):
        mine = [mine]
    if isinstance(mine, list) and isinstance(other, list):
        return [*mine, *other]
    return [*(mine or ()), other] if append else mine


def collected(
    signature: Signature, asked: Mapping[str, Any] | None, append: bool, headers: Mapping[str, Any], own: bool = True
) -> Headers:
    """The stamps for a place: those given, those a visitor `asked` for, and with `own` those the signature has."""
    made = {NAMES: list(headers), **headers}
    if asked is not None:
        made = merged(made, {NAMES: list(asked), **asked}, append)
    if own:
        options = signature.options
        made[NAMES] = [*made[NAMES], *(options.get(NAMES) or ())]
        made = merged(made, {name: options[name] for name in options if name in made[NAMES]}, append)
    made[NAMES] = list(dict.fromkeys(made[NAMES]))
    return {name: value for name, value in made.items() if name == NAMES or name in made[NAMES]}


def stamp_task(signature: Signature, visitor: Any, append: bool, headers: Headers) -> Any:
    """`Signature.stamp`."""
    stamp_links(signature, visitor, append, headers)
    asked = None if visitor is None else visitor.on_signature(signature, **headers) or {}
    return signature.set(**collected(signature, asked, append, headers))


def stamp_links(signature: Signature, visitor: Any, append: bool, headers: Headers) -> None:
    """`Signature.stamp_links`. What follows does not take over the stamps of what it follows."""
    for option, method in (("link", "on_callback"), ("link_error", "on_errback")):
        links = signature.options.get(option)
        if links is None:
            continue
        given = deepcopy(headers)
        stamped = []
        for link in map(maybe_signature, as_list(links)):
            asked = None if visitor is None else getattr(visitor, method)(link, **given) or {}
            given = collected(signature, asked, append, given, own=False)
            link.stamp(visitor, append, **given)
            stamped.append(link)
        signature.options[option] = stamped  # plain mappings were replaced by what has the stamps


def stamp_chain(chain: Any, visitor: Any, append: bool, headers: Headers) -> Any:
    """`chain.stamp`."""
    asked = None if visitor is None else visitor.on_chain_start(chain, **headers) or {}
    headers = collected(chain, asked, append, headers)
    stamp_links(chain, visitor, False, headers)
    for step in chain.tasks:
        step.stamp(visitor, append, **headers)
    if visitor is not None:
        visitor.on_chain_end(chain, **headers)
    return chain


def stamp_group(group: Any, visitor: Any, append: bool, headers: Headers) -> Any:
    """`group.stamp`."""
    asked = None if visitor is None else visitor.on_group_start(group, **headers) or {}
    headers = collected(group, asked, append, headers)
    stamp_links(group, visitor, append, headers)
    group.tasks[:] = [maybe_signature(task, app=group._app) for task in group.tasks]
    for member in group.tasks:
        member.stamp(visitor, append, **headers)
    if visitor is not None:
        visitor.on_group_end(group, **headers)
    return group


def stamp_chord(chord: Any, visitor: Any, append: bool, headers: Headers) -> Any:
    """`chord.stamp`."""
    asked = None if visitor is None else visitor.on_chord_header_start(chord, **headers) or {}
    headers = collected(chord, asked, append, headers)
    stamp_links(chord, visitor, append, headers)
    for member in chord._members():
        member.stamp(visitor, append, **headers)
    if visitor is None:
        return chord
    visitor.on_chord_header_end(chord, **headers)
    if chord.body is not None:
        asked = visitor.on_chord_body(chord, **headers) or {}
        chord.body.stamp(visitor, append, **collected(chord, asked, append, headers))
    return chord
