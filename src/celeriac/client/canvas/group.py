"""`group`: calls side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from .. import current
from ..result_set import GroupResult
from . import counting, kinds, sizes
from .identities import fresh_id
from .signature import _FIXED, Signature, kind_of, maybe_signature
from .text import shortened

if TYPE_CHECKING:
    from ..app import Celery

__all__ = ["group"]


class group(Signature):  # noqa: N801 - Celery's name
    """Calls side by side: `group(a.s(1), b.s(2))` or `group(list_or_generator)`, read when the group is made.

    Sent as a whole, in as few round trips as the broker allows, it returns a `GroupResult`. Celery's guide: Canvas.
    """

    kind = "group"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Any = tasks
        if len(tasks) == 1:
            members = tasks[0]
            if kind_of(members) == "group":
                members = members.tasks
            elif isinstance(members, Signature):
                members = [members.clone()]
            elif isinstance(members, Mapping):
                members = [members]
        super().__init__("celery.group", (), {"tasks": list(members)}, **options)
        self["subtask_type"] = "group"

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature:
        """The group that a message carried."""
        members = [maybe_signature(task, app=app) for task in d["kwargs"]["tasks"]]
        if isinstance(d["kwargs"], dict):
            d["kwargs"]["tasks"] = members  # ids that are fixed here are to be found there, as in Celery
        return cls(members, app=app, **d["options"])

    @property
    def tasks(self) -> list[Any]:
        """Its members."""
        return cast("list[Any]", self.kwargs["tasks"])

    @tasks.setter
    def tasks(self, tasks: list[Any]) -> None:
        self.kwargs["tasks"] = tasks

    def __call__(self, *partial_args: Any, **options: Any) -> Any:
        """Send it, as `apply_async(partial_args)`."""
        return self.apply_async(partial_args, **options)

    def __len__(self) -> int:
        return len(self.tasks)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Delay the members more and more: the first by `start` seconds, each further one by `step` more, at most by
        `stop`."""
        wait = start
        for task in self.tasks:
            task.set(countdown=wait)
            wait = wait + step if stop is None else min(wait + step, stop)
        return self

    # -- calling ---------------------------------------------------------------------------------------------

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        add_to_parent: bool = True,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> Any:
        """Send all members; options are for each of them. Returns a `GroupResult`.

        Raises: TypeError for `link` and `link_error` (a chord has a body, members have their own); as
        `Task.apply_async` before anything is sent, but for groups larger than the broker takes at once.
        """
        if link is not None:
            raise TypeError("Cannot add link to group: use a chord")
        if link_error is not None:
            raise TypeError("Cannot add link to group: do that on individual tasks")
        app = self.app
        if app.conf.task_always_eager:
            return self.apply(args, kwargs, **options)
        if not self.tasks:
            return self.freeze()
        options, group_id = self._identified(options)
        members = list(self._flat(self.tasks, app))
        results = [
            member.freeze(group_id=group_id, root_id=options.get("root_id"), group_index=index)
            for index, member in enumerate(members)
        ]
        self._send(members, group_id, args, kwargs, options)
        result = app.GroupResult(group_id, results)
        if len(results) == 1 and isinstance(results[0], GroupResult):
            result = results[0]  # the one member is a chain that ends in a group
        parent = app.current_worker_task
        if add_to_parent and parent:
            parent.add_trail(result)
        return result

    def _send(self, members: list[Any], group_id: str, args: Any, kwargs: Any, options: dict[str, Any]) -> None:
        for name in ("group_index", "add_to_parent", "producer"):
            options.pop(name, None)
        chord = options.pop("chord", None)
        bodies = [chord if chord is not None else member.options.get("chord") for member in members]
        if bodies[-1] is not None:
            # Before the first is sent: whoever completes the chord must know that it does.
            counting.begin(self.app, group_id, sizes.total(members))
        with self.app.publisher.gathering():
            for member, body in zip(members, bodies, strict=True):
                member.apply_async(args=args, kwargs=kwargs, add_to_parent=False, chord=body, **options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the members here, one after the other."""
        if not self.tasks:
            return self.freeze()
        options, group_id = self._identified(options)
        for name in ("link", "link_error"):
            if options.get(name) is None:
                options.pop(name, None)
        results = [member.apply(args=args, kwargs=kwargs, **options) for member in self._flat(self.tasks, self.app)]
        return self.app.GroupResult(group_id, results)

    def _identified(self, options: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """The options of the members, and the group's id, which is its own task id."""
        mine = self.options
        merged = {**mine, **{k: v for k, v in options.items() if k not in _FIXED or k not in mine}}
        group_id = merged.pop("task_id", None) or fresh_id()
        merged["group_id"] = group_id
        return merged, group_id

    def _flat(self, tasks: list[Any], app: Celery | None) -> Iterator[Any]:
        """Copies of the members; those of groups in it are its own, and empty chains are nothing."""
        for task in tasks:
            member: Any = task.clone() if isinstance(task, Signature) else Signature.from_dict(task, app=app)
            if kind_of(member) == "group":
                yield from self._flat(member.tasks, app)
            elif kind_of(member) != "chain" or member.tasks:
                yield member

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
        """Fix the ids of the members; returns their `GroupResult`."""
        own_id, results = self._freeze_members(group_id, chord, root_id, parent_id, group_index)
        return self.app.GroupResult(own_id, results)

    _freeze = freeze

    def _freeze_members(
        self,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> tuple[str, list[Any]]:
        options = self.options
        own_id = options.get("task_id")
        if own_id is None:
            own_id = options["task_id"] = fresh_id()
        if group_id:
            options["group_id"] = group_id
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        root_id = options.setdefault("root_id", root_id)
        parent_id = options.setdefault("parent_id", parent_id)
        members = list(self._flat(self.tasks, self._app))
        results = [
            member.freeze(group_id=group_id, chord=chord, root_id=root_id, parent_id=parent_id, group_index=index)
            for index, member in enumerate(members)
        ]
        self.tasks[:] = members
        return own_id, results

    # -- the members' own ------------------------------------------------------------------------------------

    def set_immutable(self, immutable: bool) -> None:
        """Of each member."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Link to the first member, without its result, as in Celery: what waits for all is a chord."""
        return self.tasks[0].link(callback.clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Link to each member, of which any may fail: a copy of the errback for each, in a tuple."""
        errback = maybe_signature(errback)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp each member."""
        return kinds.part("stamping:stamp_group")(self, visitor, append_stamps, headers)

    @property
    def app(self) -> Celery:
        """The app given, else that of the first member, else the current one."""
        if self._app is not None:
            return self._app
        first = self.tasks[0] if self.tasks else None
        return first.app if isinstance(first, Signature) else current.get_current_app()

    def __repr__(self) -> str:
        return shortened(self.tasks[0]["task"], f"group({self.tasks!r})") if self.tasks else "group(<empty>)"


Signature.register_type("group")(group)
