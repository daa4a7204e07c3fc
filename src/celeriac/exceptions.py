"""Celery's `celery.exceptions`, here: the public names of `errors`. Nothing inside the package imports it."""

from __future__ import annotations

from .errors import *  # noqa: F403 - the module is that list
from .errors import __all__  # noqa: F401 - passed on
