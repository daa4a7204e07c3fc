"""From the scheme of a URL to the adapter's factory, imported on first use. For the two registries; opens nothing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ..errors import ImproperlyConfigured


class Adapter(NamedTuple):
    """Where an adapter lives and what it takes to import it."""

    #: Module with a function `factory(opened)`.
    module: str
    #: The extra of the distribution that brings its client library; empty when nothing is needed.
    extra: str = ""


def scheme_of(url: str) -> str:
    """`redis` of `redis://host/0`, and of the bare word `redis`."""
    return url.partition("://")[0].strip().lower()


def factory(kind: str, url: str, adapters: Mapping[str, Adapter]) -> Callable[[Any], Any]:
    """The factory for this URL's scheme.

    Raises: ImproperlyConfigured for a scheme that is not known, and for one whose client library is not installed.
    The URL itself is never quoted: it may hold a password.
    """
    scheme = scheme_of(url)
    adapter = adapters.get(scheme)
    if adapter is None:
        raise ImproperlyConfigured(_unknown(kind, scheme, adapters))
    try:
        module = importlib.import_module(adapter.module)
    except ModuleNotFoundError as error:
        if not adapter.extra or (error.name or "").startswith(__package__.partition(".")[0]):
            raise
        raise ImproperlyConfigured(
            f"The {kind} {scheme}:// needs the package {error.name!r}, which is not installed: "
            f"pip install 'celeriac[{adapter.extra}]'"
        ) from error
    made: Callable[[Any], Any] = module.factory
    return made


def _unknown(kind: str, scheme: str, adapters: Mapping[str, Adapter]) -> str:
    near = get_close_matches(scheme, adapters, 1)
    hint = f" Did you mean {near[0]}://?" if near else ""
    known = ", ".join(f"{name}://" for name in sorted(adapters))
    return f"No {kind} for the URL scheme {scheme!r}.{hint} Known: {known}"
