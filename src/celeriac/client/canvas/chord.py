"""`chord`: a group whose results all go to one call, its body, once the last of them is there."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import CPendingDeprecationWarning
from .. import current, joining
from . import counting, kinds, steps
from .group import group
from .identities import fresh_id
from .signature import Signature, as_list, kind_of, maybe_signature, signature
from .text import shortened

if TYPE_CHECKING:
    from ..app import Celery

__all__ = ["chord"]

#: Of the body or of the whole, and no business of the members.
_UNUSED = ("producer", "publisher", "connection", "router", "result_cls", "interval", "max_retries", "eager")
_DELAYS = ("countdown", "eta")


class chord(Signature):  # noqa: N801 - Celery's name
    """A group and what is called with the list of its results: `chord([a.s(1), a.s(2)], body.s())`, or `group | body`.

    Sent as a whole it returns the body's result, whose `parent` is the group's. If a member fails the body does not
    run and ends with `ChordError`. Celery's guide: Canvas.
    """

    kind = "chord"

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Celery | None = None,
        **options: Any,
    ) -> None:
        inner = {**(kwargs or {"kwargs": {}}), "header": _header(header, app), "body": maybe_signature(body, app=app)}
        super().__init__(task, args, inner, app=app, **options)
        self["subtask_type"] = "chord"

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature:
        """The chord that a message carried."""
        kwargs = dict(d["kwargs"])
        header, body = kwargs.pop("header", None), kwargs.pop("body", None)
        rest = {name: value for name, value in d.items() if name != "kwargs"}
        return cls(header, body, kwargs=kwargs, app=app, **rest)

    @property
    def tasks(self) -> Any:
        """Its header: a list of signatures, or the group that freezing makes of them."""
        return self.kwargs["header"]

    @tasks.setter
    def tasks(self, header: Any) -> None:
        self.kwargs["header"] = header

    @property
    def body(self) -> Any:
        """What is called with the results."""
        return self.kwargs["body"]

    @body.setter
    def body(self, body: Any) -> None:
        self.kwargs["body"] = body

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send it, with `body` in place of its own if one is given."""
        return self.apply_async((), {"body": body} if body else {}, **options)

    def __length_hint__(self) -> int:
        return sum(member.chord_size for member in self._members())

    def _members(self) -> list[Any]:
        header = self.tasks
        return list(header.tasks if kind_of(header) == "group" else header)

    # -- calling ---------------------------------------------------------------------------------------------

    def apply_async(self, args: Any = None, kwargs: Any = None, task_id: str | None = None, **options: Any) -> Any:
        """Send the members, which carry the body. `task_id` is the body's; `countdown` and `eta` delay the members,
        `link` and `link_error` go to the body, other options to both. Returns the body's result.

        Raises: ChordsNotCounted where the engine cannot count members; as `group.apply_async`.
        """
        args = (*args, *self.args) if args and not self.immutable else self.args
        kwargs = dict(kwargs or {})
        body = kwargs.pop("body", None) or self.body
        kwargs = {**self.kwargs["kwargs"], **kwargs}
        options = {name: value for name, value in options.items() if name not in _UNUSED}
        delay = {name: options.pop(name) for name in _DELAYS if options.get(name) is not None}
        links: dict[str, Any] = {name: options.pop(name) for name in ("link", "link_error") if name in options}
        body = maybe_signature(body).clone(**_for_body(options))
        app = self._app_of(body)
        if app.conf.task_always_eager:
            body = _with_links(body, {**self.options, **links})
            with joining.allow_join_result():
                return self.apply(args, kwargs, body=body, task_id=task_id, **options)
        merged = {**self.options, **options, **links}
        own_id = merged.pop("task_id", None)
        return self._send(self._header(app), body, args, kwargs, task_id or own_id, merged, delay, app)

    def run(
        self, header: Any, body: Any, partial_args: Any = (), app: Celery | None = None, interval: Any = None,
        countdown: Any = 1, max_retries: Any = None, eager: bool = False, task_id: str | None = None,
        kwargs: Any = None, header_delay: Any = None, **options: Any,
    ) -> Any:  # fmt: skip
        """Send this header with this body; neither is copied. `interval`, `countdown`, `max_retries` and `eager` are
        of a polling that does not happen here."""
        merged = {**self.options, **{k: v for k, v in options.items() if k not in _UNUSED}}
        return self._send(
            header, body, partial_args, kwargs, task_id, merged, dict(header_delay or {}), app or self._app_of(body)
        )

    def _send(
        self,
        header: Any,
        body: Any,
        args: Any,
        kwargs: Any,
        task_id: str | None,
        options: dict[str, Any],
        delay: dict[str, Any],
        app: Celery,
    ) -> Any:
        counting.require(app)
        group_id = header.options.get("task_id") or fresh_id()
        root_id = body.options.get("root_id")
        for name in _DELAYS:
            said = options.pop(name, None)
            if said is not None:
                delay.setdefault(name, said)
        if options:
            options.pop("task_id", None)
            body = _with_links(body, options)
            body.options.update(_for_body(options))
        if kind_of(body) == "chain":
            # Else each member of each chord in it would carry all that follows.
            steps.unroll_chords(body, app)
        result = body.freeze(task_id or fresh_id(), group_id=group_id, root_id=root_id)
        steps.strip(body)
        for name in ("chain", "chord", "task_id", "link", "link_error"):
            options.pop(name, None)
        header.options["task_id"] = group_id
        own_id, results = header._freeze_members(group_id=group_id, chord=body, root_id=root_id)
        if header.tasks:
            result.parent = header.apply_async(args, kwargs, task_id=group_id, **options, **delay)
        else:
            body.delay([])
            result.parent = app.GroupResult(own_id, results)
        return result

    def _header(self, app: Celery) -> Any:
        header = self.tasks
        if kind_of(header) == "group":
            return header.clone()
        return group(list(header), app=app, task_id=self.options.get("task_id") or fresh_id())

    def apply(
        self, args: Any = None, kwargs: Any = None, propagate: bool = True, body: Any = None, **options: Any
    ) -> Any:
        """Run the members here, then the body with their results. A member's error is raised, unless `propagate` is
        false: then it is what the body gets of it."""
        body = self.body if body is None else body
        header = self.tasks.clone() if kind_of(self.tasks) == "group" else group(self.tasks, app=self.app)
        return body.apply(args=(header.apply(args, kwargs).get(propagate=propagate),))

    # -- ids -------------------------------------------------------------------------------------------------

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of members and body; returns the body's result."""
        if kind_of(self.tasks) != "group":
            self.tasks = group(self.tasks, app=self.app)
        header = self.tasks.freeze(parent_id=parent_id, root_id=root_id, chord=self.body)
        self.id = self.tasks.id
        if self.body is None:
            return None
        result = self.body.freeze(_id, root_id=root_id, chord=chord, group_id=group_id, group_index=group_index)
        first, seen = result, {result.id}
        while first.parent is not None:  # of a chain: the header comes before its first step
            first = first.parent
            if first.id in seen:
                raise RuntimeError("Recursive result parents")
            seen.add(first.id)
        first.parent = header
        return result

    _freeze = freeze

    def _unrolled(self) -> list[Any]:
        """The chord with the first step of its body, which is a chain, and the steps that follow it."""
        copy = self.clone()
        first, *rest = copy.body.unchain_tasks()
        own = ("chord", "group_id", "group_index", "link", "link_error", "parent_id", "root_id", "task_id")
        copy.body = first.clone(**{k: v for k, v in copy.body.options.items() if k not in own})
        return [copy, *rest]

    # -- making others ---------------------------------------------------------------------------------------

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """A copy, with a copy of its body."""
        copy = super().clone(*args, **kwargs)
        copy.body = maybe_signature(copy.body, clone=True)
        return copy

    def link(self, callback: Any) -> Any:
        """Link to the body."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Link to the body, and to each member with `task_allow_error_cb_on_chord_header`."""
        errback = maybe_signature(errback)
        members = as_list(self._members())
        if self.app.conf.task_allow_error_cb_on_chord_header:
            for member in members:
                member.link_error(errback.clone(immutable=True))
        else:
            warnings.warn(
                "link_error of a chord is for its body only; a later version will call it for members too, as it does "
                "now with task_allow_error_cb_on_chord_header=True",
                CPendingDeprecationWarning,
                stacklevel=2,
            )
        for member in members:
            if kind_of(member) == "chord":
                member.link_error(errback)
        self.body.link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Of each member, not of the body."""
        for member in self._members():
            member.set_immutable(immutable)

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp members and body."""
        return kinds.part("stamping:stamp_chord")(self, visitor, append_stamps, headers)

    @property
    def app(self) -> Celery:
        """The app given, else that of a member, else the body's, else the current one."""
        return self._app_of(self.body)

    def _app_of(self, body: Any) -> Celery:
        if self._app is not None:
            return self._app
        candidates = [*as_list(self._members())[:1], body]
        found = [one.app for one in candidates if isinstance(one, Signature)]
        default = current.get_current_app()
        return next((app for app in found if app is not default), default)

    def __repr__(self) -> str:
        body = self.body
        if not body:
            return f"<chord without body: {self.tasks!r}>"
        if kind_of(body) == "chain":
            rest = " | ".join(map(repr, body.tasks[1:]))
            return shortened(body.tasks[0]["task"], f"%({body.tasks[0].reprcall(self.tasks)} | {rest})")
        return "%" + shortened(body["task"], body.reprcall(self.tasks))


def _header(header: Any, app: Celery | None) -> list[Any]:
    """The members, as a list of signatures."""
    if isinstance(header, Mapping) and not isinstance(header, Signature):
        header = signature(header, app=app)
    if kind_of(header) in ("group", "chain"):
        return list(header.tasks)
    if isinstance(header, Signature):
        return [header]
    return [signature(task, app=app) for task in header or ()]


def _for_body(options: Mapping[str, Any]) -> dict[str, Any]:
    """The member that completes the chord is the body's parent."""
    return {name: value for name, value in options.items() if name != "parent_id"}


def _with_links(body: Any, options: dict[str, Any]) -> Any:
    """The body with `link` and `link_error`, which are taken out of `options`; a copy of it where there are any."""
    callbacks, errbacks = as_list(options.pop("link", None)), as_list(options.pop("link_error", None))
    if callbacks or errbacks:
        body = _deep(body)
    for callback in callbacks:
        callback = _deep(maybe_signature(callback, app=body._app))
        if kind_of(body) == "group" and not body.tasks:
            body.append_to_list_option("link", callback)
        else:
            body.link(callback)
    for errback in errbacks:
        if kind_of(body) == "group":
            _link_error_below(body, maybe_signature(errback, app=body._app))
        else:
            body.append_to_list_option("link_error", errback)
    return body


def _deep(one: Any) -> Any:
    """A copy with copies of all that linking would change."""
    one = maybe_signature(one, clone=True)
    if kind_of(one) == "group":
        one.tasks = [_deep(task) for task in one.tasks]
    elif kind_of(one) == "chord":
        one.body = _deep(one.body)
    return one


def _link_error_below(one: Any, errback: Any, whole: bool = True) -> None:
    """Link to each call of a group body. A group with errbacks of its own, which replace its members' when it runs,
    gets it there; not so a group in a group, whose options are dropped."""
    if kind_of(one) == "group":
        if whole and one.options.get("link_error") is not None:
            one.append_to_list_option("link_error", errback.clone())
            return
        for task in one.tasks:
            _link_error_below(task, errback, whole=False)
    elif kind_of(one) == "chord":
        _link_error_below(one.body, errback)
    else:
        one.link_error(errback.clone())


Signature.register_type("chord")(chord)
