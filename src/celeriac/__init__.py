"""A distributed task queue with Celery's API and Celery's wire protocol.

`from celeriac import Celery, shared_task`. Names are loaded when they are first used: `import celeriac` is free.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .foundation.version import __version__ as __version__

if TYPE_CHECKING:
    from .client.app import App as App
    from .client.app import Celery as Celery
    from .client.canvas.chain import chain as chain
    from .client.canvas.chord import chord as chord
    from .client.canvas.group import group as group
    from .client.canvas.maps import chunks as chunks
    from .client.canvas.maps import xmap as xmap
    from .client.canvas.maps import xstarmap as xstarmap
    from .client.canvas.signature import Signature as Signature
    from .client.canvas.signature import maybe_signature as maybe_signature
    from .client.canvas.signature import signature as signature
    from .client.canvas.stamping import StampingVisitor as StampingVisitor
    from .client.current import current_app as current_app
    from .client.current import current_task as current_task
    from .client.definition import shared_task as shared_task
    from .client.result import AsyncResult as AsyncResult
    from .client.result_set import GroupResult as GroupResult
    from .client.result_set import ResultSet as ResultSet
    from .client.task import Task as Task
    from .foundation.identifiers import uuid4_text as uuid

#: Public name -> where it lives.
_HOMES = {
    "App": "client.app:App",
    "AsyncResult": "client.result:AsyncResult",
    "GroupResult": "client.result_set:GroupResult",
    "ResultSet": "client.result_set:ResultSet",
    "StampingVisitor": "client.canvas.stamping:StampingVisitor",
    "chain": "client.canvas.chain:chain",
    "chord": "client.canvas.chord:chord",
    "chunks": "client.canvas.maps:chunks",
    "group": "client.canvas.group:group",
    "xmap": "client.canvas.maps:xmap",
    "xstarmap": "client.canvas.maps:xstarmap",
    "Celery": "client.app:Celery",
    "Signature": "client.canvas.signature:Signature",
    "Task": "client.task:Task",
    "current_app": "client.current:current_app",
    "current_task": "client.current:current_task",
    "maybe_signature": "client.canvas.signature:maybe_signature",
    "shared_task": "client.definition:shared_task",
    "signature": "client.canvas.signature:signature",
    "uuid": "foundation.identifiers:uuid4_text",
}

__all__ = [
    "App",
    "AsyncResult",
    "Celery",
    "GroupResult",
    "ResultSet",
    "Signature",
    "StampingVisitor",
    "Task",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "maybe_signature",
    "shared_task",
    "signature",
    "uuid",
    "xmap",
    "xstarmap",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = home.partition(":")
    value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
