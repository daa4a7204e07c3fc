"""`argsrepr` and `kwargsrepr`: a readable, bounded text of arguments, character for character as Celery writes it.

Bounded in work too: what would not be shown is not written first and cut afterwards. Never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from numbers import Number
from typing import Any

__all__ = ["represent"]

_SMALL = frozenset({int, bool, float, type(None)})
#: A stand-in for "no limit on nesting" (0) that the interpreter's stack survives.
_DEEPEST = 200


def represent(value: Any, most: int = 1024, levels: int = 3) -> str:
    """The text of `value`: at most about `most` characters, `levels` deep (`task_repr_maxlevels`)."""
    text = _short(value)
    if text is not None and len(text) < most:
        return text
    room = _Room(most)
    _Writer(room, levels or _DEEPEST).write(value, 0)
    return "".join(room.parts)


def _short(value: Any) -> str | None:
    """The text of a few plain arguments, which is nearly every call; None for anything else."""
    kind = type(value)
    if kind is tuple or kind is list:
        if len(value) > 16:
            return None
        parts = [_atom(item) for item in value]
    elif kind is dict:
        if len(value) > 16:
            return None
        parts = [f"{_atom(key)}: {text}" if (text := _atom(item)) else "" for key, item in value.items()]
    else:
        return None
    if "" in parts:
        return None
    inside = ", ".join(parts)
    if kind is dict:
        return f"{{{inside}}}"
    if kind is list:
        return f"[{inside}]"
    return f"({inside},)" if len(parts) == 1 else f"({inside})"


def _atom(value: Any) -> str:
    """The text of a plain value that is short, else the empty text."""
    kind = type(value)
    if kind is str:
        if len(value) > 200:
            return ""
        return f"'{value}'" if "'" not in value else _quote(value)
    if kind is int:
        return str(value) if -_LONG < value < _LONG else ""
    return str(value) if kind in _SMALL else ""


_LONG = 10**100


def _quote(text: str) -> str:
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


class _Room:
    """What is written, and how many characters may still be. Once they are used up nothing but brackets is added."""

    __slots__ = ("left", "parts")

    def __init__(self, most: int) -> None:
        self.parts: list[str] = []
        self.left = most

    def put(self, text: str) -> bool:
        """Write it. False, and `, ...` instead, if there is no room for anything more."""
        if self.left <= 0:
            self.parts.append(", ...")
            return False
        self.parts.append(text)
        self.left -= len(text)
        return True

    def close(self, text: str) -> None:
        """A closing bracket: written whether or not there is room."""
        self.parts.append(text)
        self.left -= len(text)


class _Writer:
    """One pass over a value. Every method says whether there was room."""

    def __init__(self, room: _Room, levels: int) -> None:
        self._room = room
        self._levels = levels
        self._open: set[int] = set()

    def write(self, value: Any, level: int) -> bool:
        if self._room.left <= 0:
            return self._room.put("")
        if isinstance(value, (Decimal, range)):
            return self._cut(_repr(value))
        if isinstance(value, Number):
            return self._cut(_repr(value, str))
        if isinstance(value, str):
            return self._room.put(_quote(_truncate(value, self._room.left)))
        if isinstance(value, bytes):
            return self._room.put(_bytes(value, self._room.left))
        if isinstance(value, (tuple, list, dict, set, frozenset)):
            return self._container(value, level)
        return self._cut(_repr(value))

    def _cut(self, text: str) -> bool:
        return self._room.put(_truncate(text, self._room.left))

    def _container(self, value: Any, level: int) -> bool:
        if isinstance(value, (set, frozenset)) and not value:
            return self._cut(f"{type(value).__name__}()")
        opening, closing = _brackets(value)
        if level >= self._levels:
            return self._room.put(f"{opening}...{closing}")
        if id(value) in self._open:
            return self._cut(f"<Recursion on {type(value).__name__} with id={id(value)}>")
        if not self._room.put(opening):
            return False
        self._open.add(id(value))
        try:
            room_left = self._mapping(value, level) if isinstance(value, dict) else self._items(value, level)
        except Exception:  # changed under another thread's hands, or a subclass that will not be iterated
            room_left = self._room.put("...")
        self._open.discard(id(value))
        self._room.close(closing)
        return room_left

    def _items(self, items: Iterable[Any], level: int) -> bool:
        first = True
        for item in items:
            if not (first or self._room.put(", ")) or not self.write(item, level + 1):
                return False
            first = False
        return True

    def _mapping(self, mapping: dict[Any, Any], level: int) -> bool:
        first = True
        for key, item in mapping.items():
            if not (first or self._room.put(", ")) or not self._key(key):
                return False
            if not self._room.put(": ") or not self.write(item, level + 1):
                return False
            first = False
        return True

    def _key(self, key: Any) -> bool:
        if self._room.left <= 0:
            return self._room.put("")
        own = _Room(self._room.left)
        _Writer(own, self._levels).write(key, 0)
        return self._room.put("".join(own.parts))


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, tuple):
        return "(", ",)" if len(value) == 1 else ")"
    if isinstance(value, dict):
        return "{", "}"
    opening, closing, plain = ("[", "]", list) if isinstance(value, list) else ("{", "}", set)
    if isinstance(value, list) or type(value) is plain:
        return opening, closing
    return f"{type(value).__name__}({opening}", f"{closing})"


def _truncate(text: str, most: int) -> str:
    return text[:most].rsplit(" ", 1)[0] + "..." if len(text) >= most else text


def _bytes(value: bytes, most: int) -> str:
    if len(value) > most:
        return f"b'{_bytes_text(bytes(value[:most]))}...'"
    return f"b'{_bytes_text(value)}'"


def _bytes_text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _repr(value: Any, write: Callable[[Any], str] = repr) -> str:
    try:
        return write(value)
    except Exception as error:  # a user's __repr__ may do anything
        return f"<Unrepresentable {type(value)!r}{id(value):#x}: {type(error).__name__}>"
