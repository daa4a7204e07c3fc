"""`Composing`: the part of a task that writes calls down, and what a running task does to the canvas it is in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .canvas import kinds
from .canvas.signature import Signature

if TYPE_CHECKING:
    from .app import Celery


class Composing:
    """Part of `Task`. Celery's guide: Canvas."""

    __slots__ = ()  # as a parent of `Task`, and not the first, it changes nothing of its layout in memory: see `lazy`

    if TYPE_CHECKING:

        @property
        def app(self) -> Celery: ...

    def signature(self, args: Sequence[Any] | None = None, *starargs: Any, **starkwargs: Any) -> Signature:
        """A call of this task written down, to be sent later or linked to another."""
        starkwargs.setdefault("app", self.app)
        return Signature(self, args, *starargs, **starkwargs)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """`signature(args, kwargs)`."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """`signature(args, kwargs, immutable=True)`: the result of what comes before is not passed on."""
        return self.signature(args, kwargs, immutable=True)

    def map(self, it: Iterable[Any]) -> Any:
        """One message that has the task run for each item, one after the other, in one worker."""
        return kinds.load("xmap")(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Any]) -> Any:
        """As `map`, each item being the arguments of a run."""
        return kinds.load("xstarmap")(self.s(), it, app=self.app)

    def chunks(self, it: Iterable[Any], n: int) -> Any:
        """A group of `starmap`s of `n` items each."""
        return kinds.load("chunks")(self.s(), it, n, app=self.app)

    def replace(self, sig: Any) -> Any:
        """Have `sig`, a signature of any kind, do what this run was to do, under its id: what waits for this task waits
        for that. `raise self.replace(...)` or `return self.replace(...)`: in a worker nothing after it is executed.

        Raises: Ignore in a worker; ImproperlyConfigured for a member of a chord, and for an empty chain.
        Celery's guide: Canvas; reference: `Task.replace`.
        """
        return kinds.part("replacing:replace")(self, sig)

    def on_replace(self, sig: Any) -> Any:
        """Send the signature that replaces this task; for subclasses to extend."""
        return kinds.part("replacing:finish")(self, sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Add `sig` to the chord of which this run is a member, and send it; with `lazy` it is only made ready.

        Raises: ValueError where this run is no member of a chord. Celery's reference: `Task.add_to_chord`.
        """
        return kinds.part("replacing:add_to_chord")(self, sig, lazy)
