"""Dead letters as bytes in Redis: the words that `dead.lua` takes, and the entries that it writes. Pure."""

from __future__ import annotations

import re

import msgspec
from msgspec import Struct

from .. import history
from ..base import DeadLetter, Settlement
from ..bounds import Bounds
from .layout import history_of, payload_of, strikes_of

_PAST = re.compile(rb"([0-9a-f]{40});(\d+);([^\n]*)\n")


class _Facts(Struct, array_like=True):
    reason: str
    detail: str
    task: str
    task_id: str
    traceback: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Facts).decode


def kept(bounds: Bounds) -> tuple[int, int]:
    """How many, and for how many milliseconds."""
    return max(0, bounds.dead_letter_max), int(min(max(0.0, bounds.dead_letter_expires), 1e12) * 1000)


def dead_word(settlement: Settlement, bounds: Bounds) -> str:
    """What `bury` in dead.lua takes."""
    it, most_and_long = settlement, kept(bounds)
    name = history.name_of(it.task_id, it.delivery.payload if it.delivery is not None else b"")
    facts = _encode(_Facts(it.reason, it.detail, it.task, it.task_id, it.traceback)).decode()
    # Digits and nothing else: the script would fail half-way over anything else, with the message in its hands.
    numbers = (*most_and_long, *(max(0, int(min(each, 1e15))) for each in (it.again_after * 1000, it.again_most)))
    return f"{name} {' '.join(map(str, numbers))} {facts}"


def read(queue: str, name: str, since: float, again: float | None, entry: bytes) -> DeadLetter:
    """`since` and `again` in milliseconds."""
    line, _, rest = entry.partition(b"\n")
    facts = _facts(line)
    past = _PAST.match(rest)
    record = rest if past is None else rest[past.end() :]
    told = "" if past is None else past[3].decode()
    return DeadLetter(
        id=name,
        queue=queue,
        payload=payload_of(record),
        reason=facts.reason,
        detail=facts.detail,
        task=facts.task,
        task_id=facts.task_id,
        since=since / 1000,
        strikes=strikes_of(record),
        traceback=facts.traceback,
        history=history.read(told, history_of(record)),
        requeues=0 if past is None else int(past[2]),
        again=None if again is None else again / 1000,
    )


def _facts(line: bytes) -> _Facts:
    """Where a queue is bounded the server wrote them, with the bytes that a message had for names."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode(line.decode("utf-8", "replace").encode())


def imported(letter: DeadLetter, told: str) -> tuple[str, bytes, str, bytes]:
    """The words of `import_dead.lua` for one letter; `told`: that it was brought in."""
    name = history.name_of(letter.task_id, letter.payload)
    past = f"{name};{letter.requeues};{history.joined(history.write(letter.history), told)}"
    facts = _encode(_Facts(letter.reason, letter.detail, letter.task, letter.task_id, letter.traceback))
    bare = letter.strikes == 0 and not letter.payload.startswith(b"\x01")
    record = letter.payload if bare else b"\x010;0;%d;\n%s" % (letter.strikes, letter.payload)
    return f"{letter.since * 1000:.0f}", facts, past, record
