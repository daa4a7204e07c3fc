"""Turning whatever `config_from_object` is given into values by setting: modules, classes, objects, mappings.

It reads names and values; it imports nothing (`foundation.loading` does) and judges no value.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..foundation.suggest import nearest
from .old_names import OLD, canonical, suspect
from .table import SETTINGS

__all__ = ["Layer", "UnknownSettingWarning", "read", "warn_if_misspelt"]


class UnknownSettingWarning(UserWarning):
    """A name that is no setting, and is very like one."""


class Layer(NamedTuple):
    """What one source says."""

    values: dict[str, Any]
    #: Names that are no settings: they stay readable through `app.conf`, as in Celery.
    extras: dict[str, Any]
    #: Where it comes from, for people.
    origin: str = ""


def read(source: Any, namespace: str = "", origin: str = "") -> Layer:
    """The settings in a module, class, object or mapping.

    Warns (UnknownSettingWarning) of names that are very like a setting, and of old names that a namespace hides.
    """
    values: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    extras: dict[str, Any] = {}
    for key, value in _pairs(source):
        match = canonical(key, namespace)
        if match is None:
            extras[key] = value
        elif match.name not in ranks or match.spelling < ranks[match.name]:
            values[match.name], ranks[match.name] = value, match.spelling
    for key, value in extras.items():
        if not _is_code(value):
            warn_if_misspelt(key, namespace)
            _warn_if_hidden(key, namespace, values)
    return Layer(values, extras, origin or _describe(source))


def warn_if_misspelt(key: str, namespace: str = "", stacklevel: int = 4) -> None:
    """Warn when the unknown key is very like a setting, with the nearest."""
    text = suspect(key, namespace)
    close = nearest(text, SETTINGS, most=1, cutoff=0.85) if text else []
    if close:
        meant = f"{namespace.rstrip('_')}_{close[0]}".upper() if namespace else close[0]
        warnings.warn(
            UnknownSettingWarning(f"there is no setting {key!r}; did you mean {meant!r}?"), stacklevel=stacklevel
        )


def _warn_if_hidden(key: str, namespace: str, values: Mapping[str, Any]) -> None:
    if namespace and key in OLD and OLD[key] not in values and key.startswith("BROKER_"):
        meant = f"{namespace.rstrip('_')}_{OLD[key]}".upper()
        warnings.warn(
            UnknownSettingWarning(f"{key!r} is not read: with namespace={namespace!r} its name is {meant!r}"),
            stacklevel=3,
        )


def _pairs(source: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(source, Mapping):
        yield from ((key, value) for key, value in source.items() if isinstance(key, str))
        return
    for key in vars(source) if inspect.ismodule(source) else dir(source):
        if not key.startswith("__"):
            try:
                yield key, getattr(source, key)
            except AttributeError:  # `dir` may name what is only promised: a lazy settings object, a descriptor
                continue


def _is_code(value: Any) -> bool:
    return inspect.ismodule(value) or inspect.isroutine(value) or inspect.isclass(value)


def _describe(source: Any) -> str:
    if inspect.ismodule(source):
        return f"module {source.__name__}"
    if inspect.isclass(source):
        return f"class {source.__qualname__}"
    return f"a {type(source).__name__}"
