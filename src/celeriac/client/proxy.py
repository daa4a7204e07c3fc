"""`Proxy`: stands for what a function returns at the moment of use. It knows nothing of apps and tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Proxy"]


class Proxy:
    """Forwards everything to the object that the function returns now, `isinstance` included."""

    __slots__ = ("__weakref__", "_proxy_find")

    def __init__(self, find: Callable[[], Any]) -> None:
        object.__setattr__(self, "_proxy_find", find)

    def _get_current_object(self) -> Any:
        """The object itself: compare or keep this one, not the proxy."""
        return self._proxy_find()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proxy_find(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._proxy_find(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._proxy_find(), name)

    # `isinstance(proxy, Task)` asks for `__class__`; typing tools ask for the others on the instance.
    @property
    def __class__(self) -> Any:
        return self._proxy_find().__class__

    @__class__.setter
    def __class__(self, kind: type) -> None:
        raise TypeError("a proxy has the class of what it stands for")

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return getattr(self._proxy_find(), "__doc__", None)

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return dict(vars(self._proxy_find()))

    @property
    def __module__(self) -> str:  # type: ignore[override]
        return str(self._proxy_find().__module__)

    @property
    def __name__(self) -> str:
        return str(self._proxy_find().__name__)

    @property
    def __wrapped__(self) -> Any:
        return self._proxy_find().__wrapped__

    def __dir__(self) -> list[str]:
        return dir(self._proxy_find())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._proxy_find()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._proxy_find())

    def __eq__(self, other: object) -> bool:
        return bool(self._proxy_find() == other)

    def __hash__(self) -> int:
        return hash(self._proxy_find())

    def __repr__(self) -> str:
        return repr(self._proxy_find())

    def __str__(self) -> str:
        return str(self._proxy_find())

    def __or__(self, other: Any) -> Any:
        return self._proxy_find() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._proxy_find()

    def __enter__(self) -> Any:
        return self._proxy_find().__enter__()

    def __exit__(self, *failure: Any) -> Any:
        return self._proxy_find().__exit__(*failure)

    def __getitem__(self, key: Any) -> Any:
        return self._proxy_find()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._proxy_find()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._proxy_find()[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._proxy_find()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._proxy_find())

    def __len__(self) -> int:
        return len(self._proxy_find())

    def __reduce__(self) -> Any:
        return self._proxy_find().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._proxy_find().__reduce_ex__(protocol)
