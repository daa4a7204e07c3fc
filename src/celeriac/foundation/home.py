"""Where the embedded queue file lies, so that producer and worker mean the same one whatever directory they start in.

    `CELERIAC_HOME` set                  CELERIAC_HOME/queue.sqlite3
    an app made in a module or package   .celeriac/queue.sqlite3 beside the top-level module or package
    interactive use, stdin, -c           .celeriac/queue.sqlite3 in the working directory

Code that was installed (site-packages) or lies where this user may not write has no folder of its own to keep a queue
in: then, too, the working directory is taken, and `embedded_path` says so in a warning.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

FOLDER = ".celeriac"
FILE = "queue.sqlite3"
_INSTALLED = {"site-packages", "dist-packages"}


def embedded_path(main_file: str | None) -> Path:
    """The absolute path of the embedded queue file; its folder is made, and ignored by git.

    `main_file` is the `__file__` of the module that makes the app, None for interactive use. A module run as a script
    and the same module imported give the same path. Raises: OSError if not even the working directory can be written.
    """
    configured = os.environ.get("CELERIAC_HOME")
    folder = Path(configured).expanduser().absolute() if configured else _beside(main_file) / FOLDER
    _make(folder)
    return folder / FILE


def _beside(main_file: str | None) -> Path:
    working = Path.cwd()
    if main_file is None or main_file.startswith("<"):
        return working
    root = _top_level(Path(os.path.realpath(main_file)))
    if _INSTALLED.intersection(root.parts):
        reason = "is installed code"
    elif not _writable(root):
        reason = "cannot be written"
    else:
        return root
    warnings.warn(
        f"{root} {reason}: the embedded queue file is kept in the working directory, {working / FOLDER}. A worker "
        f"started elsewhere will not find it; set CELERIAC_HOME or a broker URL",
        RuntimeWarning,
        stacklevel=2,
    )
    return working


def _top_level(module: Path) -> Path:
    """The folder that is (or would be) on sys.path: above all packages around the module."""
    folder = module.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def _writable(root: Path) -> bool:
    existing = root / FOLDER
    return os.access(existing if existing.exists() else root, os.W_OK | os.X_OK)


def _make(folder: Path) -> None:
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")
