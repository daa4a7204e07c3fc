"""`Signature`: a task call written down as data, to be sent later or linked to another call.

A plain dict with accessors, so that it travels as what it is. Chains, groups and chords are made of it elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence
from copy import deepcopy
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from . import current

if TYPE_CHECKING:
    from .app import Celery
    from .result import AsyncResult
    from .task import Task

__all__ = ["Signature", "maybe_signature", "signature"]

#: Options that merging must not change: other tasks wait for what they say.
_FIXED = frozenset({"group_id", "stamped_headers"})


def _item(name: str) -> Any:
    """A field of the dict as an attribute."""

    def write(self: dict[str, Any], value: Any) -> None:
        self[name] = value

    return property(itemgetter(name), write)


class Signature(dict[str, Any]):
    """A call: `task` (name), `args`, `kwargs`, `options` (of `apply_async`), `subtask_type`, `immutable`.

    Arguments given when it is called come before its own, unless it is immutable. Celery's guide: Canvas.
    """

    _app: Celery | None = None
    _type: Task[..., Any] | None = None

    def __init__(
        self,
        task: Any = None,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Celery | None = None,
        **ex: Any,
    ) -> None:
        self._app = app
        if isinstance(task, Mapping):
            super().__init__(task)
            return
        if not isinstance(task, str) and task is not None:
            self._type = task
            task = task.name
        super().__init__(
            task=task,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **ex},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature:
        """The signature that a message carried."""
        kind = d.get("subtask_type")
        if kind:
            raise NotImplementedError(f"a {kind} cannot be called by this version: it knows single tasks only")
        return Signature(d, app=app)

    # -- calling ---------------------------------------------------------------------------------------------

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Run the task here, as a function."""
        args, kwargs, _ = self._merge(partial_args, partial_kwargs)
        return self.type(*args, **kwargs)

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> AsyncResult[Any]:
        """`apply_async(partial_args, partial_kwargs)`."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
        """Send the call; options as for `Task.apply_async`, None meaning the signature's own."""
        said = {name: value for name, value in options.items() if value is not None}
        args, kwargs, options = self._merge(args, kwargs, said)
        if self._type is not None:
            return self._type.apply_async(args, kwargs, **options)
        # Like Celery: a task that is registered here is checked, one that is not can still be sent by its name.
        task = self.app.tasks.get(self.task)
        if task is None:
            return self.app.send_task(self.task, args, kwargs, **options)
        return cast("AsyncResult[Any]", task.apply_async(args, kwargs, **options))

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the call here (`Task.apply`)."""
        said = {name: value for name, value in options.items() if value is not None}
        args, kwargs, options = self._merge(args, kwargs, said)
        return self.type.apply(args, kwargs, **options)

    # -- making others ---------------------------------------------------------------------------------------

    def clone(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Signature:
        """A copy with these arguments and options merged in; changing it does not change this one."""
        args, kwargs, options = self._merge(args, kwargs, opts)
        copy = Signature(
            {
                "task": self.task,
                "args": tuple(args),
                "kwargs": dict(kwargs),
                "options": deepcopy(options),
                "subtask_type": self.subtask_type,
                "immutable": self.immutable,
            },
            app=self._app,
        )
        copy._type = self._type
        return copy

    partial = clone

    def replace(self, args: Any = None, kwargs: Any = None, options: Any = None) -> Signature:
        """A copy with these in place of its own."""
        copy = self.clone()
        for name, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                copy[name] = value
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Signature:
        """Set options for `apply_async`; returns itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Whether arguments given when it is called are ignored."""
        self["immutable"] = immutable

    def _merge(
        self, args: Any = None, kwargs: Any = None, options: Mapping[str, Any] | None = None, force: bool = False
    ) -> tuple[Any, Any, dict[str, Any]]:
        mine = self.options
        merged: dict[str, Any] = mine
        if options:
            fixed = _FIXED.union(mine.get("stamped_headers") or ())
            merged = {**mine, **{k: v for k, v in options.items() if k not in fixed or k not in mine}}
        if self.immutable and not force:
            return self.args, self.kwargs, merged
        return (
            (*args, *self.args) if args else self.args,
            {**self.kwargs, **kwargs} if kwargs else self.kwargs,
            merged,
        )

    # -- links -----------------------------------------------------------------------------------------------

    def link(self, callback: Any) -> Any:
        """Have `callback` called with the result, should the task succeed. Returns the callback."""
        return self._append("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Have `errback` called should the task fail. Returns the errback."""
        return self._append("link_error", errback)

    def on_error(self, errback: Any) -> Signature:
        """`link_error`, returning this signature."""
        self.link_error(errback)
        return self

    def _append(self, name: str, value: Any) -> Any:
        items = self.options.setdefault(name, [])
        if not isinstance(items, MutableSequence):
            items = self.options[name] = [items]
        if value not in items:
            items.append(value)
        return value

    # -- as data ---------------------------------------------------------------------------------------------

    @property
    def app(self) -> Celery:
        """The app given, else the task's, else the current one."""
        return self._app or (self._type.app if self._type is not None else current.get_current_app())

    @property
    def type(self) -> Any:
        """The task itself. Raises: NotRegistered."""
        return self._type or self.app.tasks[self.task]

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task

    @property
    def id(self) -> str | None:
        """The task id, where one was fixed."""
        return self.options.get("task_id")

    task: str = _item("task")
    args: Any = _item("args")
    kwargs: dict[str, Any] = _item("kwargs")
    options: dict[str, Any] = _item("options")
    subtask_type: str | None = _item("subtask_type")
    immutable: bool = _item("immutable")

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __reduce__(self) -> tuple[Callable[..., Signature], tuple[dict[str, Any]]]:
        return signature, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        # Arguments may be anything and are not changed by whoever copies; options are.
        copy = dict(self)
        memo[id(self)] = copy
        copy["options"] = deepcopy(self.options, memo)
        return copy

    def __repr__(self) -> str:
        shown = [repr(arg) for arg in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(shown)})"


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature:
    """A signature from a task, a task's name, or the mapping that a signature is. Another signature is copied."""
    if isinstance(varies, Mapping):
        app = kwargs.get("app")
        return varies.clone() if isinstance(varies, Signature) else Signature.from_dict(varies, app=app)
    return Signature(varies, *args, **kwargs)


def maybe_signature(d: Any, app: Celery | None = None, clone: bool = False) -> Any:
    """`d` as a signature where it is a mapping; anything else unchanged."""
    if isinstance(d, Signature):
        made = d.clone() if clone else d
    elif isinstance(d, Mapping):
        made = Signature.from_dict(d, app=app)
    else:
        return d
    if app is not None:
        made._app = app
    return made
