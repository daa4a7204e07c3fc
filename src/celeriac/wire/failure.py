"""Exceptions as they stand in result documents, and back: `{"exc_type": …, "exc_message": …, "exc_module": …}`.

On the wire our errors bear the names of Celery's, so that a stock client rebuilds its own types; reading, Celery's
names are ours. Reading is hostile ground (CVE-2021-23727): nothing is called but exception classes, and no package is
imported that the process does not use already.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from .. import errors
from ..errors import SecurityError
from .serializers import tagged

__all__ = ["from_wire", "stand_in", "to_wire"]

_OURS = errors.__name__

#: Where a stock peer finds the exceptions that we have too. What is not listed is ours alone and keeps our module.
_STOCK_MODULES: dict[str, tuple[str, ...]] = {
    "celery.exceptions": (
        "AlreadyRegistered",
        "BackendError",
        "CPendingDeprecationWarning",
        "CeleryError",
        "Ignore",
        "ImproperlyConfigured",
        "InvalidTaskError",
        "MaxRetriesExceededError",
        "NotRegistered",
        "QueueNotFound",
        "Reject",
        "Retry",
        "SecurityError",
        "TaskError",
        "TaskPredicate",
        "TaskRevokedError",
        "TimeoutError",
        "ChordError",
        "BackendGetMetaError",
        "BackendStoreError",
        "IncompleteStream",
    ),
    "kombu.exceptions": ("ContentDisallowed", "DecodeError", "EncodeError", "OperationalError"),
    "billiard.exceptions": ("SoftTimeLimitExceeded", "Terminated", "TimeLimitExceeded", "WorkerLostError"),
}
_stock_module = {name: module for module, names in _STOCK_MODULES.items() for name in names}

#: `celery.exceptions` offers billiard's and kombu's errors as well.
_READ_AS_OURS = frozenset(_STOCK_MODULES)

_WRAPPER = ("celery.utils.serialization", "UnpickleableExceptionWrapper")


def to_wire(error: BaseException) -> dict[str, Any]:
    """The error as data: type, arguments, module. Arguments that JSON cannot carry become their repr.

    Never raises, whatever the exception is made of.
    """
    kind = type(error)
    if issubclass(kind, (SystemExit, KeyboardInterrupt)):
        return _exited(error)
    name, module = str(kind.__qualname__), str(kind.__module__)
    if module == _OURS:
        name = "CeleryError" if name == "CeleriacError" else name
        module = _stock_module.get(name, module)
    return {"exc_type": name, "exc_message": _carried(_args(error)), "exc_module": module}


def _exited(error: BaseException) -> dict[str, Any]:
    """As Celery's workers say it. Under its own name it would end the process that calls `get()`."""
    how = type(error).__name__
    if isinstance(error, SystemExit):
        code = error.code or 0
        how = f"exitcode {code if isinstance(code, int) else 1}"
    return {
        "exc_type": "WorkerLostError",
        "exc_message": (f"Worker exited prematurely: {how}.",),
        "exc_module": "billiard.exceptions",
    }


def _args(error: BaseException) -> Iterable[Any]:
    try:
        return tuple(error.args)
    except Exception:  # a class may hide `args` behind a property
        return (_repr(error),)


def _carried(args: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(arg if _is_carried(arg) else _repr(arg) for arg in args)


def _is_carried(arg: Any) -> bool:
    if type(arg) is str and arg.isascii():
        return True
    try:
        tagged.encode_exactly(arg)
    except Exception:
        return False
    return True


def _repr(value: Any) -> str:
    for write in (repr, str):
        try:
            text = write(value)
            if isinstance(text, str):
                return text
        except Exception:  # a user's __repr__ may do anything
            continue
    return f"<Unrepresentable {type(value).__module__}.{type(value).__qualname__}>"


# -- reading -----------------------------------------------------------------------------------------------------------


def from_wire(stored: Any) -> BaseException | None:
    """The exception in a result document; None where there is none.

    Its class is the user's own where this process has it or can import it from a package it already uses, else a
    stand-in of the same name and module. Where the class refuses its arguments the instance is made without its
    `__init__`, with `args` set: still its type, still its text.
    Raises: SecurityError if the named thing exists and is no exception class; ValueError if `stored` names nothing.
    """
    if not stored:
        return None
    if isinstance(stored, BaseException):
        return stored
    name, module, args = _unwrapped(*_fields(stored))
    kind = _found(module, name) if module else None
    if kind is None:
        kind = stand_in(name, module or _OURS)
    if not (isinstance(kind, type) and issubclass(kind, BaseException)):
        raise SecurityError(f"Expected an exception class, got {module}.{name} with payload {args!r:.1000}")
    return _instance(kind, args)


def _fields(stored: Any) -> tuple[str, str | None, tuple[Any, ...]]:
    if not isinstance(stored, Mapping):
        raise ValueError(f"a stored exception must be a mapping, not {stored!r:.200}")
    name, module = stored.get("exc_type"), stored.get("exc_module")
    if not isinstance(name, str) or not name:
        raise ValueError("Exception information must include the exception type")
    message = stored.get("exc_message", "")
    args = tuple(message) if isinstance(message, (list, tuple)) else (message,)
    return name, module if isinstance(module, str) else None, args


def _unwrapped(name: str, module: str | None, args: tuple[Any, ...]) -> tuple[str, str | None, tuple[Any, ...]]:
    """What stock workers wrapped because it does not pickle: (module, class, args, text). JSON never needed that."""
    if (module, name) != _WRAPPER or len(args) < 3:
        return name, module, args
    inner_module, inner_name, inner_args = args[:3]
    if not (isinstance(inner_module, str) and isinstance(inner_name, str) and isinstance(inner_args, (list, tuple))):
        return name, module, args
    return inner_name, inner_module, tuple(inner_args)


def _found(module_name: str, name: str) -> Any:
    """What `module.name` is, or None. `name` may lead through classes (`Outer.Inner`), through nothing else."""
    if module_name in _READ_AS_OURS:
        ours = errors.CeleryError if name == "CeleryError" else vars(errors).get(name)
        if isinstance(ours, type):
            return ours
    thing: Any = _module(module_name)
    if thing is None:
        return None
    *outer, last = name.split(".")
    for part in outer:
        thing = getattr(thing, part, None)
        if not isinstance(thing, type):
            return None
    return getattr(thing, last, None)


def _module(name: str) -> Any:
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    package, _, rest = name.partition(".")
    # The rest of a package that the process uses is its own code; any other module's import is code that whoever
    # can write a result would choose for us. `__main__` of a package is a program, not a module.
    if not rest or package not in sys.modules or "__main__" in rest:
        return None
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # it is not there, or it cannot be imported here
        return None


@lru_cache(maxsize=512)
def stand_in(name: str, module: str) -> type[Exception]:
    """An exception class with that (qualified) name and module, for one that is not here. The same one every time."""
    try:
        return type(name.rpartition(".")[2], (Exception,), {"__module__": module, "__qualname__": name})
    except ValueError:  # a NUL or half a surrogate pair, which no class can be called
        return type("Exception", (Exception,), {"__module__": module, "__qualname__": name})


def _instance(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    try:
        made = kind(*args)
        if isinstance(made, BaseException):
            return made
    except Exception:  # its __init__ wants something else
        pass
    try:
        made = kind.__new__(kind, *args)
        made.args = args
        str(made), repr(made)
        return made
    except Exception:  # its __new__ too, or it cannot be shown without what its __init__ would have set
        return stand_in(kind.__qualname__, kind.__module__)(*args)
