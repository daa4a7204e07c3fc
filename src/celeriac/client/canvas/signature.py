"""`Signature`: a task call written down as data, to be sent later or linked to another call.

A plain dict with accessors. Chains, groups and chords are signatures too, in modules of their own; what is common to
all is here, and what differs they override.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, MutableSequence
from copy import deepcopy
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, cast

from .. import current
from . import kinds
from .identities import fresh_id

if TYPE_CHECKING:
    from ..app import Celery
    from ..result import AsyncResult
    from ..task import Task

__all__ = ["Signature", "as_list", "kind_of", "maybe_signature", "signature"]

#: Options that merging must not change: other tasks wait for what they say.
_FIXED = frozenset({"group_id", "stamped_headers"})


def _item(name: str) -> Any:
    """A field of the dict as an attribute."""

    def write(self: dict[str, Any], value: Any) -> None:
        self[name] = value

    return property(itemgetter(name), write)


def _option(name: str) -> Any:
    """An option as an attribute; None where it was never set."""

    def read(self: Signature) -> Any:
        return self.options.get(name)

    def write(self: Signature, value: Any) -> None:
        self.options[name] = value

    return property(read, write)


class Signature(dict[str, Any]):
    """A call: `task` (name), `args`, `kwargs`, `options` (of `apply_async`), `subtask_type`, `immutable`.

    Arguments given when it is called come before its own, unless it is immutable. Celery's guide: Canvas.
    """

    TYPES: ClassVar[dict[str, Any]] = kinds.TYPES
    #: "chain", "group" or "chord"; empty for a call of one task.
    kind: ClassVar[str] = ""

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
    def register_type(cls, name: str | None = None) -> Callable[[Any], Any]:
        """A class decorator: signatures with the `subtask_type` of that name (the class's own) are made by it."""
        return lambda kind: kinds.register(name or kind.__name__, kind)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature:
        """The signature that a message carried. Raises: KeyError for a `subtask_type` that nobody has registered."""
        kind = d.get("subtask_type")
        target = kinds.load(kind) if kind else cls
        if target is not cls:
            return cast("Signature", target.from_dict(d, app=app))
        made = Signature(d, app=app)
        if type(made.get("args")) is list:
            made["args"] = tuple(made["args"])
        return made

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

    def __invert__(self) -> Any:
        """`~sig`: send the call and wait for its result."""
        return self.apply_async().get()

    # -- making others ---------------------------------------------------------------------------------------

    def __or__(self, other: Any) -> Any:
        """`self | other`: a chain, or a chord where a group is followed by a task."""
        return kinds.part("rewrite:join")(self, other)

    def __ior__(self, other: Any) -> Any:
        return self.__or__(other)  # a dict's own would merge the two

    def clone(self, args: Any = None, kwargs: Any = None, **opts: Any) -> Any:
        """A copy with these arguments and options merged in; changing it does not change this one."""
        args, kwargs, options = self._merge(args, kwargs, opts)
        fields = {
            "task": self.task,
            "args": tuple(args),
            "kwargs": dict(kwargs),
            "options": deepcopy(options) if options else {},
            "subtask_type": self.subtask_type,
            "immutable": self.immutable,
        }
        copy = Signature.from_dict(fields, app=self._app)
        copy._type = self._type
        return copy

    partial = clone

    def replace(self, args: Any = None, kwargs: Any = None, options: Any = None) -> Any:
        """A copy with these in place of its own."""
        copy = self.clone()
        for name, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                copy[name] = value
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Any:
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
        """Fix the id under which it will be called, and return its result. It keeps an id that it has."""
        options = self.options
        if "task_id" not in options:
            options["task_id"] = _id or fresh_id()
        task_id: str = options["task_id"]
        said = {"root_id": root_id, "parent_id": parent_id, "chord": chord}
        options.update((name, value) for name, value in said.items() if value)
        if "reply_to" not in options:
            options["reply_to"] = self.app.publisher.oid
        if group_id:
            options.setdefault("group_id", group_id)
        if group_index is not None:
            options["group_index"] = group_index
        return self._result(task_id)

    _freeze = freeze

    def _result(self, task_id: str) -> AsyncResult[Any]:
        task = self._type or self.app.tasks.get(self.task)
        return self.app.AsyncResult(task_id) if task is None else task.AsyncResult(task_id)

    # -- links -----------------------------------------------------------------------------------------------

    def link(self, callback: Any) -> Any:
        """Have `callback` called with the result, should the task succeed. Returns the callback."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Have `errback` called should the task fail. Returns the errback."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Any:
        """`link_error`, returning this signature."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add to the list that is the option `key`, unless it is there. Returns the value."""
        items = self._list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add one or several to the list that is the option `key`."""
        self._list_option(key).extend(as_list(value))

    def _list_option(self, key: str) -> MutableSequence[Any]:
        items: Any = self.options.setdefault(key, [])
        if not isinstance(items, MutableSequence):
            items = self.options[key] = [items]
        return cast("MutableSequence[Any]", items)

    def flatten_links(self) -> list[Any]:
        """Itself, and whatever is called after it has succeeded."""
        found: list[Any] = [self]
        for link in as_list(self.options.get("link")):
            found.extend(maybe_signature(link, app=self._app).flatten_links())
        return found

    # -- stamps ----------------------------------------------------------------------------------------------

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Put headers on the call and on all that follows it; `visitor` (a `StampingVisitor`) may say which.

        Stamps of one name replace each other, or gather in a list with `append_stamps`. Celery's guide: Canvas.
        """
        return kinds.part("stamping:stamp_task")(self, visitor, append_stamps, headers)

    def stamp_links(self, visitor: Any, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp its callbacks and errbacks."""
        kinds.part("stamping:stamp_links")(self, visitor, append_stamps, headers)

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

    id: str | None = _option("task_id")
    parent_id: str | None = _option("parent_id")
    root_id: str | None = _option("root_id")
    task: str = _item("task")
    args: Any = _item("args")
    kwargs: dict[str, Any] = _item("kwargs")
    options: dict[str, Any] = _item("options")
    subtask_type: str | None = _item("subtask_type")
    immutable: bool = _item("immutable")

    @property
    def chord_size(self) -> int:
        """How many results it contributes to a chord of which it is a member."""
        return cast("int", kinds.part("sizes:size")(self))

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

    __class_getitem__: Any = classmethod(types.GenericAlias)

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """The call as text, with more arguments before its own."""
        args, kwargs, _ = self._merge(args, kwargs, {}, force=True)
        shown = [repr(arg) for arg in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
        return f"{self.task}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
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


def kind_of(value: Any) -> str:
    """ "chain", "group" or "chord"; empty for a single call, and for whatever is no signature."""
    return value.kind if isinstance(value, Signature) else ""


def as_list(value: Any) -> list[Any]:
    """One signature, several or none (None) as a list."""
    if value is None:
        return []
    if isinstance(value, (Mapping, str)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)
