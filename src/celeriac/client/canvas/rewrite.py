"""What `a | b` makes of two signatures: Celery's rules, without I/O.

A group followed by anything is a chord; what follows a chord goes into its body; chains are flattened; a group of one
is its member, and an empty one nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Any

from . import kinds
from .signature import Signature, as_list, kind_of, maybe_signature


def join(left: Signature, right: Any) -> Any:
    """`left | right`; NotImplemented where `right` is no signature."""
    if not isinstance(right, Signature):
        return NotImplemented
    rule: Callable[[Any, Any], Any] = _JOINS.get(left.kind, _after_task)
    return rule(left, right)


def unrolled(group: Any) -> Any:
    """The member of a group that has one; any other group as it is."""
    return group.tasks[0] if len(group.tasks) == 1 else group


def is_empty_group(signature: Any) -> bool:
    """A group without members, which steps of a chain pass over."""
    return kind_of(signature) == "group" and not signature.tasks


def _after_task(left: Signature, right: Signature) -> Any:
    chain = kinds.load("chain")
    if right.kind == "chain":
        return chain([left, *unchained(right)], app=left._app)
    if right.kind == "group":
        right = unrolled(right)
    return chain([left, right], app=left._app)


def _after_group(left: Any, right: Signature) -> Any:
    return left if is_empty_group(right) else kinds.load("chord")(left, body=right, app=left._app)


def _after_chord(left: Any, right: Any) -> Any:
    if right.kind == "group" and len(right.tasks) == 1:
        right = unrolled(right)
    elif right.kind in ("group", "chain"):
        return _after_task(left, right)
    made = left.clone()
    made.body = made.body | right
    return made


def _after_chain(left: Any, right: Any) -> Any:
    if is_empty_group(right):
        return left
    if right.kind == "chain":
        return reduce(or_, unchained(right), left)
    if right.kind == "group":
        member = unrolled(right)
        return _chain_then_group(left, right) if member is right else _after_chain(left, member)
    last = kind_of(left.tasks[-1]) if left.tasks else ""
    if last == "group":
        return _chord_at_end(left.clone(), right)
    if last == "chord" and right.kind != "chord":
        made = left.clone()
        made.tasks[-1].body = made.tasks[-1].body | right
        return made
    return type(left)([*unchained(left), right], app=left._app)


def _chain_then_group(left: Any, right: Any) -> Any:
    steps = unchained(left)
    if not steps:
        return right
    if kind_of(steps[-1]) == "chord":
        steps[-1].body = steps[-1].body | right
        return type(left)(steps, app=left._app)
    return type(left)([*steps, right], app=left._app)


def _chord_at_end(chain: Any, body: Signature) -> Any:
    """The group that ends the chain becomes a chord with that body; a chord before it takes it in."""
    steps = chain.tasks
    steps[-1] = kinds.load("chord")(steps[-1], body, app=chain._app)
    if len(steps) > 1 and kind_of(steps[-2]) == "chord":
        last = steps.pop()
        steps[-1].body = steps[-1].body | last
    return chain


_JOINS: dict[str, Callable[[Any, Any], Any]] = {"group": _after_group, "chain": _after_chain, "chord": _after_chord}


def unchained(chain: Any) -> list[Any]:
    """Copies of a chain's steps, with the chain's callbacks on the last and its errbacks on each."""
    steps = [step.clone() for step in chain.tasks]
    if steps:
        for callback in as_list(chain.options.get("link")):
            steps[-1].link(callback)
    for errback in as_list(chain.options.get("link_error")):
        for step in steps:
            step.link_error(errback)
    return steps


def fold(members: Iterable[Any]) -> Any:
    """`a | b | c | …` in one pass: one by one each `|` would copy all that came before."""
    made: list[Any] = []
    rest = iter([maybe_signature(m) if isinstance(m, Mapping) else m for m in members])
    for member in rest:
        result = _add(made, member)
        if result is not made:  # no chain any more: a group that came first, say
            return reduce(or_, rest, result)
    return kinds.load("chain")(made)


def _add(steps: list[Any], right: Any) -> Any:
    """`steps | right`, within `steps` where that is a chain still: the rules of `_after_chain`, which look at the last
    step only."""
    if not isinstance(right, Signature):
        raise TypeError(f"a chain is made of signatures (task.s(...)), not {right!r}")
    if is_empty_group(right):
        return steps
    if right.kind == "chain":
        return _add_all(steps, unchained(right))
    if right.kind == "group":
        member = unrolled(right)
        return _add_group(steps, right) if member is right else _add(steps, member)
    last = kind_of(steps[-1]) if steps else ""
    if last == "group":
        steps[-1] = kinds.load("chord")(steps[-1], right.clone())
    elif last == "chord" and right.kind != "chord":
        steps[-1].body = steps[-1].body | right
    else:
        steps.append(right.clone())
    return steps


def _add_all(steps: list[Any], more: list[Any]) -> Any:
    rest = iter(more)
    for step in rest:
        result = _add(steps, step)
        if result is not steps:
            return reduce(or_, rest, result)
    return steps


def _add_group(steps: list[Any], group: Any) -> Any:
    if not steps:
        return group
    if kind_of(steps[-1]) == "chord":
        steps[-1].body = steps[-1].body | group
    else:
        steps.append(group.clone())
    return steps
