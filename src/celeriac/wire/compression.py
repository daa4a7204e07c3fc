"""Compressed bodies and results, under the content types that kombu gives the methods."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from ..errors import DecodeError, ImproperlyConfigured

__all__ = ["compress", "decompress"]

_Method = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]

#: Modules with `compress` and `decompress`, the first that is there: loaded on first use, since few use any.
_modules = {
    "application/x-gzip": ("zlib",),
    "application/x-bz2": ("bz2",),
    "application/x-lzma": ("lzma",),
    "application/x-brotli": ("brotli", "brotlicffi"),
    "application/zstd": ("compression.zstd", "backports.zstd"),
}
_names = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "brotli": "application/x-brotli",
    "zstd": "application/zstd",
    "zstandard": "application/zstd",
}


def compress(data: bytes, method: str) -> tuple[bytes, str]:
    """The compressed bytes and the method's content type (the header `compression`).

    Raises: ImproperlyConfigured for an unknown method.
    """
    content_type = _names.get(method, method)
    found = _method(content_type)
    if found is None:
        raise ImproperlyConfigured(
            f"unknown (or not installed) compression {method!r}: there are {', '.join(sorted(_names))}"
        )
    return found[0](data), content_type


def decompress(data: bytes, method: object) -> bytes:
    """What was compressed. Raises: DecodeError, also for a method that is not known here."""
    found = _method(_names.get(method, method)) if isinstance(method, str) else None
    if found is None:
        raise DecodeError(f"is compressed with {method!r:.100}, which is not known here")
    try:
        return found[1](data)
    except Exception as error:
        raise DecodeError(f"is not compressed with {method}: {error}") from error


def _method(content_type: str) -> _Method | None:
    for name in _modules.get(content_type, ()):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        return module.compress, module.decompress
    return None
