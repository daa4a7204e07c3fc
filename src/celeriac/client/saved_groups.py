"""Groups that are kept by their ids (`GroupResult.save`), in Celery's form where the backend is a store of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backends.base import Groups
from ..errors import CeleriacError
from ..wire import outcome, serializers
from .progress import seconds
from .result import result_from_tuple

if TYPE_CHECKING:
    from .app import Celery


def save(app: Celery, backend: Any, group: Any) -> None:
    """Raises: CeleriacError where the engine keeps no groups."""
    conf = app.conf
    data = serializers.encode({"result": group.as_tuple()}, conf.result_serializer, ())[0]
    _groups(backend).put_group(str(group.id), data, seconds(conf.result_expires))


def delete(backend: Any, group_id: str) -> None:
    """Nothing, where it is not kept."""
    _groups(backend).forget_group(group_id)


def restore(app: Celery, backend: Any, group_id: str) -> Any:
    """The result, or None."""
    data = _groups(backend).get_group(group_id)
    if data is None:
        return None
    conf = app.conf
    accepted = serializers.content_types(tuple(conf.result_accept_content or conf.accept_content))
    (content_type,) = serializers.content_types((conf.result_serializer,))
    kept = serializers.decode(
        outcome.decompressed(data), content_type, "utf-8", accepted, setting="result_accept_content"
    )
    return result_from_tuple(kept["result"], app)


def _groups(backend: Any) -> Groups:
    if not isinstance(backend, Groups):
        raise CeleriacError(f"groups cannot be kept yet by this engine ({type(backend).__name__})")
    return backend
