"""`chain`: calls one after the other, each with the result of the one before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from .. import current, joining
from . import kinds, rewrite
from .signature import Signature, kind_of, maybe_signature
from .steps import Prepared, prepare
from .text import shortened

if TYPE_CHECKING:
    from ..app import Celery

__all__ = ["Chain", "chain"]

#: What a chain deals with itself; all other options are those of its first step.
_OWN = ("group_id", "chord", "task_id", "link", "link_error", "root_id", "parent_id", "group_index")
_UNUSED = ("publisher", "producer", "use_link")


class Chain(Signature):
    """A chain as it is: `chain(...)` and `|` make one by the rules of `rewrite`. Celery's guide: Canvas."""

    kind = "chain"

    def __init__(self, *tasks: Any, **options: Any) -> None:
        members: Any = tasks[0] if len(tasks) == 1 and _is_many(tasks[0]) else tasks
        super().__init__("celery.chain", (), {"tasks": list(members)}, **options)
        self["subtask_type"] = "chain"

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature:
        """The chain that a message carried."""
        made = cls([maybe_signature(task, app=app) for task in d["kwargs"]["tasks"] or ()], app=app, **d["options"])
        return made

    @property
    def tasks(self) -> list[Any]:
        """Its steps."""
        return cast("list[Any]", self.kwargs["tasks"])

    @tasks.setter
    def tasks(self, tasks: list[Any]) -> None:
        self.kwargs["tasks"] = tasks

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send it, as `delay`; an empty one does nothing."""
        return self.apply_async(args, kwargs) if self.tasks else None

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """A copy, with copies of its steps."""
        copy = super().clone(*args, **kwargs)
        copy.tasks = [maybe_signature(task, app=self._app, clone=True) for task in copy.tasks]
        return copy

    def unchain_tasks(self) -> list[Any]:
        """Copies of its steps, with its callbacks on the last and its errbacks on each."""
        return rewrite.unchained(self)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the first step, which carries the others. Returns the result of the last; its `parent` is the one
        before. Options are those of the first step; `link` goes to the last, `link_error` to each, `task_id` is the
        last one's. An empty chain does nothing and returns None."""
        if self.app.conf.task_always_eager:
            with joining.allow_join_result():
                return self.apply(args, kwargs, **options)
        merged = {**self.options, **options}
        own = {name: merged.pop(name, None) for name in _OWN}
        for name in _UNUSED:
            merged.pop(name, None)
        return self._run(args, kwargs, own, merged)

    def run(self, args: Any = None, kwargs: Any = None, app: Celery | None = None, **options: Any) -> Any:
        """`apply_async` without the signature's own options and never eager, as in Celery."""
        own = {name: options.pop(name, None) for name in _OWN}
        for name in _UNUSED:
            options.pop(name, None)
        return self._run(args, kwargs, own, options)

    def _run(self, args: Any, kwargs: Any, own: dict[str, Any], options: dict[str, Any]) -> Any:
        args = (*args, *self.args) if args and not self.immutable else self.args
        prepared = self._prepared(args, kwargs or {}, own, clone=True)
        steps, results = prepared.steps, prepared.results
        if not steps:
            return None
        if own["link"]:
            steps[0].extend_list_option("link", own["link"])
        first = steps.pop()
        # Of a chain within a chain: what follows the whole comes after what follows here.
        after = options.get("chain")
        options["chain"] = [*after, *steps] if after else steps
        sent = first.apply_async(**options)
        # A single step may be a group: its own result is the one that knows its members.
        return results[0] if steps else sent

    def _prepared(self, args: Any, kwargs: Any, own: Mapping[str, Any], *, clone: bool) -> Prepared:
        prepared = prepare(
            self.tasks,
            args,
            kwargs,
            app=self.app,
            clone=clone,
            last_id=own["task_id"],
            link_error=own["link_error"],
            common={"root_id": own["root_id"]},
            last={name: own[name] for name in ("group_id", "chord", "group_index")},
        )
        self.id = prepared.results[0].id if prepared.results else own["task_id"]
        return prepared

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of all steps; returns the result of the last."""
        own = {"task_id": _id, "group_id": group_id, "chord": chord, "root_id": root_id, "group_index": group_index}
        return self._prepared(self.args, self.kwargs, {**own, "link_error": None}, clone=False).results[0]

    _freeze = freeze

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the steps here, one after the other."""
        merged = {**self.options, **options}
        link = merged.pop("link", None)
        steps = [step for step in map(maybe_signature, self.tasks) if not rewrite.is_empty_group(step)]
        steps = steps or list(self.tasks[-1:])
        last: Any = None
        for number, step in enumerate(steps, 1):
            step = step.clone()
            if link and number == len(steps):
                # A chord has no run of its own: what follows it follows its body.
                (step.body if kind_of(step) == "chord" else step).extend_list_option("link", link)
            result = step.apply(args if last is None else (last.get(),), kwargs if last is None else None, **merged)
            result.parent, last = last, result
            if getattr(result, "_ends_chain", False):
                break
        return last

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp each step."""
        return kinds.part("stamping:stamp_chain")(self, visitor, append_stamps, headers)

    @property
    def app(self) -> Celery:
        """The app given, else that of the first step, else the current one."""
        if self._app is not None:
            return self._app
        first = self.tasks[0] if self.tasks else None
        return first.app if isinstance(first, Signature) else current.get_current_app()

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return shortened(self.tasks[0]["task"], " | ".join(map(repr, self.tasks)))


class chain(Chain):  # noqa: N801 - Celery's name
    """Calls one after the other: `chain(a.s(1), b.s(), c.s())`, `chain(list_or_generator)`, or `a.s(1) | b.s()`.

    Sent as a whole, it returns the result of its last step. Celery's guide: Canvas.
    """

    kind = "chain"

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        if options or not tasks or (len(tasks) == 1 and not _is_many(tasks[0])):
            return super().__new__(cls)
        made = rewrite.fold(tasks[0] if len(tasks) == 1 else tasks)
        if cls is not chain and kind_of(made) == "chain":  # a subclass of the user's
            return super().__new__(cls)
        return made


def _is_many(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (Mapping, str))


Signature.register_type("chain")(Chain)
