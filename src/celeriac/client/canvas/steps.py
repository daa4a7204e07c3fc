"""A chain's steps made ready to be sent: nested chains taken apart, groups that something follows made chords, ids
fixed, results linked to their parents. It sends nothing.

Steps come out in reverse: a message carries what follows it as a list of which a worker takes the last, and the chain's
last step has its result first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from . import counting, kinds, rewrite
from .signature import Signature, as_list, kind_of

if TYPE_CHECKING:
    from ..app import Celery


class Prepared(NamedTuple):
    """Both in reverse."""

    steps: list[Any]
    results: list[Any]


def prepare(
    tasks: Iterable[Any],
    args: Any,
    kwargs: Any,
    *,
    app: Celery,
    clone: bool,
    last_id: str | None = None,
    link_error: Any = None,
    common: Mapping[str, Any],
    last: Mapping[str, Any],
) -> Prepared:
    """With `clone` copies are made ready, else the tasks themselves get their ids. `args` and `kwargs` are the first
    step's; `common` are what each is frozen with, `last` (group, chord) the last one."""
    walk = _Walk(app, clone, link_error, dict(common))
    return walk.run(_from_the_head(tasks, app, clone), args, kwargs, last_id, last)


def strip(signature: Any) -> None:
    """Take out what freezing has put on a chord's members, the body they are counted for: the chord that carries them
    knows it, puts it back when it is sent, and each copy would be as large as the body."""
    kind = kind_of(signature)
    if kind == "chord":
        for member in _members(signature.tasks):
            _forget_chord(member)
            strip(member)
        if isinstance(signature.tasks, Signature):
            signature.tasks.options.pop("chord", None)
        if signature.body is not None:
            strip(signature.body)
    elif kind:
        for member in signature.tasks:
            strip(member)


def is_led_by_task(body: Any) -> bool:
    """A chain whose first step is no group: after a chord it can be taken apart, since it runs once anyhow."""
    return kind_of(body) == "chain" and bool(body.tasks) and kind_of(body.tasks[0]) != "group"


def unroll_chords(chain: Any, app: Celery) -> None:
    """Have the chords of a chain end after the first step of their bodies, the rest of which follows them: each member
    carries the body, so that the rest would travel as often as there are members, at each chord anew."""
    pending, steps = deque(chain.tasks), []
    while pending:
        step = pending.popleft()
        if kind_of(step) == "chain":
            step = step.clone()
            unroll_chords(step, app)
        if kind_of(step) == "chord" and is_led_by_task(step.body):
            pending.extendleft(reversed(step._unrolled()))
        else:
            steps.append(step)
    chain.tasks = steps


class _Walk:
    """From the last step to the first."""

    def __init__(self, app: Celery, clone: bool, link_error: Any, common: dict[str, Any]) -> None:
        self._app = app
        self._clone = clone
        self._errbacks = as_list(link_error)
        self._common = common
        self._steps: list[Any] = []
        self._results: list[Any] = []
        #: What the next one found comes before: a step, and the result that has no parent yet.
        self._behind: Any = None
        self._orphan: Any = None

    def run(self, left: deque[Any], args: Any, kwargs: Any, last_id: str | None, last: Mapping[str, Any]) -> Prepared:
        begun = False
        while left:
            step = self._signature(left.pop())
            if kind_of(step) == "group":
                step = rewrite.unrolled(step)
                if rewrite.is_empty_group(step) and (left or self._behind is not None):
                    continue
            if self._clone and kind_of(step) == "chord" and is_led_by_task(step.body):
                left.extend(step._unrolled())
                continue
            step = self._given(step, args, kwargs, first=not left)
            if kind_of(step) == "chain":
                left.extend(step.tasks)
                continue
            step = self._before_what_follows(step)
            self._add(step, step.freeze(**self._common) if begun else step.freeze(last_id, **self._common, **last))
            begun = True
        if self._clone:
            for step in self._steps:
                strip(step)
        return Prepared(self._steps, self._results)

    def _signature(self, step: Any) -> Any:
        return step if isinstance(step, Signature) else Signature.from_dict(step, app=self._app)

    def _given(self, step: Any, args: Any, kwargs: Any, *, first: bool) -> Any:
        if self._clone:
            return step.clone(args, kwargs) if first else step.clone()
        if first:
            step.args = (*args, *step.args)
        return step

    def _before_what_follows(self, step: Any) -> Any:
        """A group that something follows is a chord; so is the body of a chord that is one. (Celery has each member of
        such a body run all that follows, under the same ids.)"""
        if self._behind is None:
            return step
        if kind_of(step) == "group":
            return self._upgraded(step)
        if self._clone and kind_of(step) == "chord" and kind_of(step.body) == "group" and step.body.tasks:
            step.body = self._upgraded(step.body)
        return step

    def _upgraded(self, group: Any) -> Any:
        """The group and the step behind it as a chord."""
        body = self._steps.pop()
        result = self._results.pop()
        same_id = {"task_id": result.id} if kind_of(body) != "group" else {}
        chord = kinds.load("chord")(group, body=body, app=self._app, root_id=self._common["root_id"], **same_id)
        self._behind = self._steps[-1] if self._steps else None
        # What comes later hangs on the body's result, and is to hang on the chord's.
        node = self._results[-1] if self._results else None
        while node is not None and node.parent is not result:
            node = node.parent
        if node is not None:
            node.parent = None
            self._orphan = node
        return chord

    def _add(self, step: Any, result: Any) -> None:
        if self._behind is not None and self._orphan is not None and not self._orphan.parent:
            self._orphan.parent = result
        for errback in self._errbacks:
            step.link_error(errback)
            if kind_of(step) == "chord" and step.body:
                step.body.link_error(errback)
        self._steps.append(step)
        self._results.append(result)
        self._behind, self._orphan = step, result
        if kind_of(step) == "chord":
            if self._clone:  # it is to be sent, even if not from here
                counting.require(self._app)
            while self._orphan.parent:  # the chord begins with its header
                self._orphan = self._orphan.parent


def _from_the_head(tasks: Iterable[Any], app: Celery, clone: bool) -> deque[Any]:
    """The steps, of which the first is a call: it gets the chain's arguments. What adds none of its own goes: a chain
    in front is spliced, empty groups are left out unless there is nothing else."""
    steps = deque(tasks)
    empty = None
    while steps:
        head: Any = steps[0]
        if not isinstance(head, Signature):
            head = steps[0] = Signature.from_dict(head, app=app)
        if head.kind == "chain":
            steps.popleft()
            steps.extendleft(reversed((head.clone() if clone else head).tasks))
            continue
        if head.kind == "group":
            head = steps[0] = rewrite.unrolled(head)
            if len(steps) > 1 and rewrite.is_empty_group(head):
                empty = steps.popleft()
                continue
            if kind_of(head) == "chain":
                continue
        break
    if empty is not None and not steps:
        steps.append(empty)
    return steps


def _members(header: Any) -> list[Any]:
    return list(header.tasks if kind_of(header) == "group" else header)


def _forget_chord(signature: Any) -> None:
    """A member counts where it ends: in a chain at its last step, in a chord in its body, in a group everywhere."""
    signature.options.pop("chord", None)
    kind = kind_of(signature)
    if kind == "group":
        for member in signature.tasks:
            _forget_chord(member)
    elif kind == "chain" and signature.tasks:
        _forget_chord(signature.tasks[-1])
    elif kind == "chord" and signature.body is not None:
        _forget_chord(signature.body)
