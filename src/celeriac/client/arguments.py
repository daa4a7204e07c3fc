"""Arguments of a call before it is sent: do they fit the function.

Knows functions and values; knows no task and no message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, cast

#: Called with the arguments of a call; raises Python's own TypeError where they do not fit.
Checker = Callable[..., Any]


def checker(function: Callable[..., Any], bound: bool = False) -> Checker:
    """A function with the parameters of `function` and no body: calling it costs what a call costs.

    `inspect.Signature.bind` says the same in 5 us; this says it in 0.2, with the interpreter's own error texts, which
    are Celery's. With `bound` the first parameter (`self`) is already given. A callable whose parameters cannot be
    read (some C functions) accepts everything: the worker will find out.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return _anything
    name = getattr(function, "__name__", type(function).__name__)
    check = _bodiless(name, parameters)
    return partial(check, object()) if bound else check


def _anything(*args: Any, **kwargs: Any) -> None:
    return None


def _bodiless(name: str, parameters: list[inspect.Parameter]) -> Checker:
    # Annotations are left out: they may name what is not importable here. Defaults are one shared object, since only
    # their presence matters.
    taken = {p.name for p in parameters}
    default = next(n for n in (f"_default{i}" for i in count()) if n not in taken)
    bare = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else _Name(default)) for p in parameters
    ]
    # `<lambda>` and keywords cannot be defined; the qualified name is what error texts show.
    scope: dict[str, Any] = {default: None}
    exec(f"def check{inspect.Signature(bare)}: pass", scope)
    made: Any = scope["check"]
    made.__name__ = made.__qualname__ = name
    return cast("Checker", made)


class _Name:
    """Prints as the bare name in `str(Signature)`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name
