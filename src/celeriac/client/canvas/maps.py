"""`xmap`, `xstarmap` and `chunks`: one task over many arguments, in one message or in a few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from .group import group
from .signature import Signature

if TYPE_CHECKING:
    from ..app import Celery

__all__ = ["chunks", "xmap", "xstarmap"]


class _Over(Signature):
    """A task run once for each item, in one run in one worker."""

    _runs: ClassVar[str]
    _shown: ClassVar[str]

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        super().__init__(self._runs, (), {"task": task, "it": _kept(it)}, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature:
        """What a message carried."""
        return cls(d["kwargs"]["task"], d["kwargs"]["it"], app=app, **d["options"])

    def __repr__(self) -> str:
        items = repr(self.kwargs["it"])
        items = items if len(items) <= 100 else f"{items[:97]}..."
        return f"[{self.kwargs['task']['task']}({self._shown}) for x in {items}]"


class xmap(_Over):  # noqa: N801 - Celery's name
    """`task.map([1, 2])`: `[task(1), task(2)]`, in one message. Celery's guide: Canvas."""

    _runs = "celery.map"
    _shown = "x"


class xstarmap(_Over):  # noqa: N801 - Celery's name
    """`task.starmap([(1, 2), (3, 4)])`: `[task(1, 2), task(3, 4)]`, in one message. Celery's guide: Canvas."""

    _runs = "celery.starmap"
    _shown = "*x"


class chunks(Signature):  # noqa: N801 - Celery's name
    """`task.chunks(items, 10)`: a group of `starmap`s of ten items each. Celery's guide: Canvas."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        super().__init__("celery.chunks", (), {"task": task, "it": _kept(it), "n": n}, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Celery | None = None) -> Signature:
        """What a message carried."""
        return cls(d["kwargs"]["task"], d["kwargs"]["it"], d["kwargs"]["n"], app=app, **d["options"])

    def __call__(self, **options: Any) -> Any:
        """Send it, as `apply_async`."""
        return self.apply_async(**options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the group."""
        return self.group().apply_async(args, kwargs, **options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the group here. (Celery fails here: it runs `celery.chunks`, whose result is a group's.)"""
        return self.group().apply(args, kwargs, **options)

    def group(self) -> Any:
        """The group that it stands for."""
        task, n = self.kwargs["task"], self.kwargs["n"]
        return group((xstarmap(task, part, app=self._app) for part in _parts(self.kwargs["it"], n)), app=self._app)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Celery | None = None) -> Any:
        """Make it and send it."""
        return cls(task, it, n, app=app)()


def _kept(items: Iterable[Any]) -> Any:
    return items if isinstance(items, (list, tuple)) else list(items)


def _parts(items: Iterable[Any], n: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, n)):
        yield part


Signature.register_type("xmap")(xmap)
Signature.register_type("xstarmap")(xstarmap)
Signature.register_type("chunks")(chunks)
