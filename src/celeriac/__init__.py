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
    from .client.current import current_app as current_app
    from .client.current import current_task as current_task
    from .client.definition import shared_task as shared_task
    from .client.result import AsyncResult as AsyncResult
    from .client.signature import Signature as Signature
    from .client.signature import maybe_signature as maybe_signature
    from .client.signature import signature as signature
    from .client.task import Task as Task
    from .foundation.identifiers import uuid4_text as uuid

#: Public name -> where it lives.
_HOMES = {
    "App": "client.app:App",
    "AsyncResult": "client.result:AsyncResult",
    "Celery": "client.app:Celery",
    "Signature": "client.signature:Signature",
    "Task": "client.task:Task",
    "current_app": "client.current:current_app",
    "current_task": "client.current:current_task",
    "maybe_signature": "client.signature:maybe_signature",
    "shared_task": "client.definition:shared_task",
    "signature": "client.signature:signature",
    "uuid": "foundation.identifiers:uuid4_text",
}

__all__ = [
    "App",
    "AsyncResult",
    "Celery",
    "Signature",
    "Task",
    "current_app",
    "current_task",
    "maybe_signature",
    "shared_task",
    "signature",
    "uuid",
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
