"""Importing the modules in which tasks are defined: `imports`, `include` and what `autodiscover_tasks` asked for.

An error raised while such a module is imported is never swallowed: only "there is no such module" is quiet, and only
for the module that autodiscovery itself looks for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from ..foundation.loading import import_module, missing

__all__ = ["Packages", "find_related", "names_of"]

#: Package names, or a function that gives them later.
Packages = Iterable[str] | Callable[[], Iterable[str]]


def find_related(packages: Packages | None, related_name: str | None, fixups: Sequence[Any] = ()) -> list[ModuleType]:
    """Import `<package>.<related_name>` of each package that has it; `related_name` None: the packages themselves.

    Raises: ModuleNotFoundError for a package that does not exist; whatever the modules themselves raise.
    """
    found = (_related(package, related_name) for package in _resolved(packages, fixups))
    return [module for module in found if module is not None]


def _resolved(packages: Packages | None, fixups: Sequence[Any]) -> list[str]:
    if callable(packages):
        packages = packages()
    if packages:
        return [packages] if isinstance(packages, str) else list(packages)
    asked = [fixup.autodiscover_tasks for fixup in fixups if hasattr(fixup, "autodiscover_tasks")]
    if packages is None and not asked:
        warnings.warn(
            "autodiscover_tasks() without packages finds nothing: no integration (such as Django's) is active that "
            "could name them; pass the packages",
            stacklevel=2,
        )
    return [package for ask in asked for package in ask()]


def _related(package: str, related_name: str | None) -> ModuleType | None:
    try:
        module = import_module(package)
        if not related_name:
            return module
    except ModuleNotFoundError as error:
        # Django's INSTALLED_APPS may name a class in a module: look beside it.
        parent = package.rpartition(".")[0]
        if not parent or not related_name or not missing(package, error):
            raise
        package = parent
    name = f"{package}.{related_name}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # A package on the way that is no package counts as "not there" as well; a module that *it* imports does not.
        if error.name == name:
            return None
        raise


def names_of(value: str | Iterable[str] | None) -> list[str]:
    """Module names from a setting that may be one name, several or None."""
    if not value:
        return []
    return [value] if isinstance(value, str) else list(value)
