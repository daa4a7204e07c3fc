"""How large a node may be, as people write it: `500M`, `80%`, `10,3`. Pure."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import ImproperlyConfigured

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def size(text: object, whole: Callable[[], int]) -> int:
    """Bytes: a number, `500M`, `2G` (with or without a B, 1024 each), or a percentage of `whole()`; 0 for none.

    Raises: ImproperlyConfigured.
    """
    wanted = str(text or 0).strip().upper()
    percent = wanted.endswith("%")
    bare = wanted.rstrip("%") if percent else wanted.removesuffix("B").removesuffix("I")
    unit = bare[-1:] if bare[-1:] in "KMGT" and not percent else ""
    try:
        number = float(bare.removesuffix(unit))
        if not 0 <= number < 2**60 or (percent and number > 100):
            raise ValueError
    except ValueError:
        raise ImproperlyConfigured(f"worker_max_memory is {text!r}: write it such as 500M, 2G or 80%") from None
    return int(number * whole() / 100) if percent else int(number * _UNITS[unit])


def autoscale_of(value: object) -> tuple[int, int]:
    """(most, least) slots of `10,3`, in any order, or of `10`; (0, 0) for none. Raises: ImproperlyConfigured."""
    if not value:
        return 0, 0
    parts = [str(part).strip() for part in (value if isinstance(value, (list, tuple)) else str(value).split(","))]
    if not 1 <= len(parts) <= 2 or not all(part.isdigit() for part in parts) or not any(map(int, parts)):
        raise ImproperlyConfigured(f"autoscale is {value!r}: write it such as 10,3")
    most, least = max(map(int, parts)), min(map(int, parts))
    return most, max(1, least if len(parts) == 2 else 1)
