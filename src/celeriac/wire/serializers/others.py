"""The serializers that must be asked for by name: pickle, YAML, msgpack. Their libraries load on first use."""

from __future__ import annotations

import os
from typing import Any

#: kombu's choice: what every supported Python reads.
_PICKLE_PROTOCOL = int(os.environ.get("PICKLE_PROTOCOL", "4"))


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
    import msgspec

    def refuse(item: Any) -> Any:
        raise TypeError(f"can not serialize {type(item).__name__!r} object")

    return msgspec.msgpack.encode(value, enc_hook=refuse)


def msgpack_decode(data: bytes) -> Any:
    """MessagePack."""
    import msgspec

    return msgspec.msgpack.decode(data)
