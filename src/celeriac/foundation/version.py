"""The version, in the one place from which packaging, the command line and the worker's banner read it."""

from __future__ import annotations

__version__ = "0.1.0"
