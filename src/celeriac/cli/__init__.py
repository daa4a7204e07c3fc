"""The command line. `main` is all that others call; each command has a module of its own name."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
