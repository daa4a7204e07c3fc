"""Texts of arguments: bounded in length and in work, and never an exception."""

from __future__ import annotations

from typing import Any

from celeriac.wire.representation import represent


class Counted(list[int]):
    """Knows how many of its items were looked at."""

    looked = 0

    def __iter__(self) -> Any:
        for item in super().__iter__():
            self.looked += 1
            yield item


def test_usual_arguments() -> None:
    assert represent((1, "a", None)) == "(1, 'a', None)"
    assert represent(("it's",)) == "('it\\'s',)"
    assert represent({"a": 1.5, "b": True}) == "{'a': 1.5, 'b': True}"
    assert represent(()) == "()"


def test_work_is_bounded_by_what_is_shown() -> None:
    many = Counted(range(1_000_000))
    text = represent((many,))
    assert len(text) < 1100
    assert many.looked < 1100


def test_long_values_are_cut_before_they_are_written() -> None:
    text = represent(("x" * 50_000_000, b"\xff" * 50_000_000))
    assert len(text) < 3200
    assert text.endswith(")")


def test_objects_that_resist() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert represent((Hostile(),)).startswith("(<Unrepresentable <class")
    assert represent([10**5000]).startswith("[<Unrepresentable")


def test_depth_without_a_limit_is_still_limited() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert len(represent(value, 1024, 0)) < 2048


def test_a_container_that_changes_under_way() -> None:
    class Growing(dict[str, Any]):
        def items(self) -> Any:
            yield "a", 1
            raise RuntimeError("dictionary changed size during iteration")

    assert represent({"x": Growing()}).startswith("{'x': ")
