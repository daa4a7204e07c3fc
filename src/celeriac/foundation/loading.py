"""Importing by name, with errors that say which name failed. It knows no app class: the caller says what one is.

An error raised *inside* an imported module is never turned into another one: its own traceback is the message. Only
"this very module does not exist" is told apart (`missing`).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from ..errors import ImproperlyConfigured

__all__ = [
    "AppNotFound",
    "cwd_on_path",
    "find_app",
    "import_module",
    "missing",
    "module_name_of",
    "symbol",
    "with_cwd",
]

_T = TypeVar("_T")


class AppNotFound(ImproperlyConfigured):
    """No app was found under the text given to `-A`; the text lists what was tried."""


# -- the working directory ---------------------------------------------------------------------------------------------


def cwd_on_path() -> None:
    """Put the working directory first on `sys.path`, for good: commands do, once, before they load an app."""
    here = _cwd()
    if here and here not in sys.path:
        sys.path.insert(0, here)


@contextmanager
def with_cwd() -> Iterator[None]:
    """Have the working directory on `sys.path` meanwhile."""
    here = _cwd()
    if not here or here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # the directory was deleted under us
        return None


# -- modules and what is in them ---------------------------------------------------------------------------------------


def import_module(name: str) -> ModuleType:
    """Import an absolute module name; the working directory counts as on `sys.path`.

    Raises: ModuleNotFoundError if there is none, with a hint for `proj/app.py` and `proj.app.py`; whatever the module
    itself raises.
    """
    try:
        with with_cwd():
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = _hint(name)
        if hint and missing(name, error):
            raise ModuleNotFoundError(f"{error.msg}{hint}", name=error.name) from None
        raise
    except (TypeError, ValueError) as error:
        if name and not name.startswith("."):
            raise
        raise ModuleNotFoundError(f"{name!r} is not an absolute module name", name=name) from error


def _hint(name: str) -> str:
    if name.endswith(".py") or "/" in name:
        meant = name.removesuffix(".py").strip("./").replace("/", ".")
        return f" (a module is named with dots and without the suffix: did you mean {meant!r}?)"
    return ""


def missing(name: str, error: ModuleNotFoundError) -> bool:
    """The error says that this module, or a package on the way to it, does not exist: not one that it imports."""
    return error.name is not None and (name == error.name or name.startswith(f"{error.name}."))


def symbol(name: Any) -> Any:
    """What `pkg.module:attr`, `pkg.module.attr` or `pkg.module` names; anything but text is returned as it is.

    Raises: ModuleNotFoundError, AttributeError, and whatever the module itself raises.
    """
    if not isinstance(name, str):
        return name
    module_name, colon, path = name.partition(":")
    if colon:
        return _attributes(import_module(module_name), path)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        parent, _, attribute = name.rpartition(".")
        if not parent or _hint(name) or not missing(name, error):
            raise
        return _attributes(import_module(parent), attribute)


def _attributes(module: ModuleType, path: str) -> Any:
    found: Any = module
    for part in filter(None, path.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise AttributeError(f"module {module.__name__!r} has no attribute {path!r}") from None
    return found


def module_name_of(module: str) -> str:
    """The name under which others import a module: for `__main__` that of its file, package included.

    `python -m proj.jobs` and `python proj/jobs.py` both give `proj.jobs`. `__main__` where there is no file.
    """
    if module not in ("__main__", "__mp_main__"):
        return module
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in ("__main__", "__mp_main__"):
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None)
    return _name_by_file(file) if file else "__main__"


def _name_by_file(file: str) -> str:
    folder, base = os.path.split(os.path.abspath(file))
    parts = [os.path.splitext(base)[0]]
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    if parts[-1] == "__main__":
        parts.pop()
    return ".".join(parts) or "__main__"


# -- the app of `-A` ---------------------------------------------------------------------------------------------------


def find_app(text: str | _T, kind: type[_T]) -> _T:
    """The app that `-A` names, as Celery finds it (guide: Application, "Finding the app instance").

    `proj.mod:attr` is that very object. `proj.mod`: its attribute `app`, then `celery`, then, for a package, the same
    in `proj.mod.celery`, then the first app in the module. `proj.mod.attr` works too.

    Raises: AppNotFound, with what was tried; whatever importing the modules raises, with its own traceback.
    """
    if isinstance(text, kind):
        return text
    name = str(text)
    search = _Search(name, kind)
    found = search.exactly() if ":" in name else search.around()
    if found is None:
        tried = "".join(f"\n  {attempt}" for attempt in search.tried)
        raise AppNotFound(f"No app was found for {name!r}. Tried:{tried}\nName it as module:attribute.")
    return found  # type: ignore[no-any-return]


class _Search:
    """One look for an app; `tried` is what it says when it finds none."""

    def __init__(self, name: str, kind: type) -> None:
        self.name, self.kind = name, kind
        self.tried: list[str] = []

    def exactly(self) -> Any:
        module_name, _, path = self.name.partition(":")
        module = self._module(module_name)
        return None if module is None else self._attribute(module, path or "app")

    def around(self) -> Any:
        module = self._module(self.name)
        if module is not None:
            return self._in_module(module)
        parent, _, attribute = self.name.rpartition(".")
        module = self._module(parent) if parent else None
        return None if module is None else self._attribute(module, attribute)

    def _in_module(self, module: ModuleType) -> Any:
        name = module.__name__
        found = self._attribute(module, "app") or self._attribute(module, "celery")
        if found is None and hasattr(module, "__path__"):
            inner = self._module(f"{name}.celery")
            found = None if inner is None else self._in_module(inner)
        if found is None:
            found = next((value for value in list(vars(module).values()) if isinstance(value, self.kind)), None)
        if found is None:
            self.tried.append(f"any {self.kind.__name__} instance in module {name}: none")
        return found

    def _module(self, name: str) -> ModuleType | None:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if not missing(name, error):
                raise
            self.tried.append(f"module {name}: {error.msg}")
            return None

    def _attribute(self, module: ModuleType, path: str) -> Any:
        place = f"{module.__name__}:{path}"
        try:
            found = _attributes(module, path)
        except AttributeError:
            self.tried.append(f"{place}: no such attribute")
            return None
        if isinstance(found, self.kind):
            return found
        what = "a module" if isinstance(found, ModuleType) else f"{type(found).__name__}"
        self.tried.append(f"{place}: not an app but {what}")
        return None
