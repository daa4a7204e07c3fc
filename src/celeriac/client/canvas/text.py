"""How combined signatures are shown."""

from __future__ import annotations


def shortened(task: str, text: str) -> str:
    """`text` with the module of `task` in front of the first name only: `shop.add(2, 2) | add(4)`."""
    module = task.rpartition(".")[0]
    if not module:
        return text
    place = text.find(f"{module}.")
    if place < 0:
        return text
    place += len(module) + 1
    return text[:place] + text[place:].replace(f"{module}.", "")
