"""Compressed bodies and results, under the content types that kombu gives the methods."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable

from ..errors import DecodeError, ImproperlyConfigured

__all__ = ["compress", "decompress"]

_Method = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]

_methods: dict[str, _Method] = {
    "application/x-gzip": (zlib.compress, zlib.decompress),
    "application/x-bzip2": (bz2.compress, bz2.decompress),
    "application/x-lzma": (lzma.compress, lzma.decompress),
}
_names = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bzip2",
    "bzip": "application/x-bzip2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
}


def compress(data: bytes, method: str) -> tuple[bytes, str]:
    """The compressed bytes and the method's content type (the header `compression`).

    Raises: ImproperlyConfigured for an unknown method.
    """
    content_type = _names.get(method, method)
    try:
        encoder, _ = _methods[content_type]
    except KeyError:
        known = ", ".join(sorted(_names))
        raise ImproperlyConfigured(f"unknown compression {method!r}: there are {known}") from None
    return encoder(data), content_type


def decompress(data: bytes, method: str) -> bytes:
    """What was compressed. Raises: DecodeError, also for a method that is not known here."""
    try:
        _, decoder = _methods[_names.get(method, method)]
    except (KeyError, TypeError):
        raise DecodeError(f"unknown compression {method!r:.100}") from None
    try:
        return decoder(data)
    except Exception as error:
        raise DecodeError(f"is not compressed with {method}: {error}") from error
