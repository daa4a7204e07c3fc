"""How many results a signature contributes to the chord of which it is a member."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .signature import Signature, kind_of


def size(signature: Any) -> int:
    """A call one; a group as many as its members; a chain its last step that has any; a chord its body."""
    if isinstance(signature, Mapping) and not isinstance(signature, Signature):
        signature = Signature.from_dict(signature)
    kind = kind_of(signature)
    if kind == "group":
        return total(signature.tasks)
    if kind == "chain":
        return next(filter(None, map(size, reversed(signature.tasks))), 0)
    if kind == "chord":
        return size(signature.body) if signature.body is not None else 0
    return 1 if isinstance(signature, Signature) else len(signature)


def total(signatures: Iterable[Any]) -> int:
    """Of several."""
    return sum(map(size, signatures))
