"""The serializers that must be asked for by name: pickle, YAML, msgpack. Their libraries load on first use."""

from __future__ import annotations

import os
from typing import Any

import msgspec

#: kombu's choice: what every supported Python reads.
_PICKLE_PROTOCOL = int(os.environ.get("PICKLE_PROTOCOL", "4"))


_PACKABLE = frozenset({str, bytes, bytearray, int, float, bool, type(None)})


def pickle_encode(value: Any) -> bytes:
    """Pickle, in the protocol that kombu uses."""
    import pickle  # loaded by nobody who does not ask for it

    return pickle.dumps(value, protocol=_PICKLE_PROTOCOL)


def pickle_decode(data: bytes) -> Any:
    """Runs whatever the bytes say: only for content that was explicitly accepted."""
    import pickle

    return pickle.loads(data)


def yaml_encode(value: Any) -> str:
    """YAML of plain values. Raises: ImportError without PyYAML."""
    import yaml  # type: ignore[import-untyped,unused-ignore]  # an optional dependency

    text: str = yaml.safe_dump(value)
    return text


def yaml_decode(data: bytes) -> Any:
    """Plain values only, as kombu reads them. Raises: ImportError without PyYAML."""
    import yaml

    return yaml.safe_load(data)


def msgpack_encode(value: Any) -> bytes:
    """MessagePack with its own type for bytes; types beyond MessagePack's are refused, as with kombu."""
    _check_packable(value)
    return msgspec.msgpack.encode(value)


def msgpack_decode(data: bytes) -> Any:
    """MessagePack."""
    return msgspec.msgpack.decode(data)


def _check_packable(value: Any) -> None:
    """msgspec would write dates, sets and data classes in ways of its own, which stock peers read as something else."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_packable(key)
            _check_packable(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_packable(item)
    elif type(value) not in _PACKABLE:
        raise TypeError(f"can not serialize {type(value).__name__!r} object")
