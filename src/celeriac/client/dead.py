"""`app.dead`: messages set aside with their reason - to look at, mend, send again, take elsewhere, delete.

Everything works page by page, whatever their number, and letter by letter: what is broken off half-way is simply called
again. It neither judges nor runs anything.
"""

from __future__ import annotations

import fnmatch
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
from msgspec import Struct, structs

from ..brokers.base import DeadLetter
from ..errors import CeleriacError, DecodeError
from ..wire import envelope, protocol1, protocol2, serializers
from ..wire.representation import represent

if TYPE_CHECKING:
    from .app import Celery

__all__ = ["Choice", "DeadLetters", "NoSuchLetter", "per_second"]

#: Letters in memory at a time.
_PAGE = 100
#: Letters of one step where only their ids are needed.
_STEP = 500
#: And the most bytes that they have in all, unless one alone has more: a broker serves nobody else meanwhile.
_STEP_BYTES = 8 << 20
#: What a file may say: seconds by which another clock may be ahead, strikes and requeues.
_AHEAD, _MOST_COUNTED = 86400.0, 1_000_000
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?\s*")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}

#: Seconds of age, or an instant.
Age = float | timedelta | datetime


class NoSuchLetter(CeleriacError, LookupError):
    """No dead letter has this id, nor has the message of any."""


class Choice(Struct, frozen=True):
    """Which letters: all that every given field fits. Nothing given: all there are."""

    #: Their own ids, or their tasks'.
    ids: tuple[str, ...] = ()
    #: A task's name, or a pattern such as `shop.*`.
    task: str | None = None
    reason: str | None = None
    #: Instants; what users give may be an `Age`.
    older: float | None = None
    newer: float | None = None
    queues: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        return self == Choice(queues=self.queues)


def per_second(rate: str | float | None) -> float:
    """`10/s`, `100/m`, `5/h`, or a number a second; 0.0 for none. Raises: ValueError."""
    if rate is None:
        return 0.0
    found = _RATE.fullmatch(str(rate))
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"{rate!r} is no rate such as 10/s, 100/m or 5/h")
    return float(found[1]) / _SECONDS[found[2] or "s"]


class DeadLetters:
    """The dead letters of an app's queues (all configured ones, unless `queues` names others). Any thread may use it.

    What is common to all methods: the words of `Choice` say which letters; OperationalError where the broker is away.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    # -- looking ---------------------------------------------------------------------------------------------

    def list(self, *ids: str, limit: int | None = 100, **choice: Any) -> Sequence[DeadLetter]:
        """The newest first."""
        return [*islice(self.iterate(*ids, **choice), limit)]

    def iterate(self, *ids: str, **choice: Any) -> Iterator[DeadLetter]:
        """The newest first, a page in memory at a time. What is added meanwhile is not seen."""
        return self._chosen(_choice(ids, choice))

    def count(self, queues: Iterable[str] = ()) -> int:
        """How many there are."""
        return sum(counts.dead for counts in self._app.broker.count(self._queues(queues)).values())

    def get(self, identity: str, queues: Iterable[str] = ()) -> DeadLetter:
        """The letter of this id; else the newest of the task of this id. Raises: NoSuchLetter."""
        for letter in self.iterate(identity, queues=tuple(queues)):
            return letter
        raise NoSuchLetter(f"no dead letter {identity}")

    # -- changing --------------------------------------------------------------------------------------------

    def requeue(
        self,
        *ids: str,
        countdown: float = 0.0,
        rate: str | float | None = None,
        dry_run: bool = False,
        everything: bool = False,
        **choice: Any,
    ) -> int:
        """Send them again as they were, the oldest first; strikes are forgotten, results overwritten. Returns how many.

        `countdown`: the first in so many seconds; `rate` (`10/s`, `100/m`): the others one after the other. They wait
        in the broker. With `dry_run` nothing is sent. Without any choice `everything` must be said.
        """
        if not 0 <= countdown < float("inf"):
            raise ValueError(f"a countdown of {countdown!r} seconds")
        pause = 1.0 / often if (often := per_second(rate)) else 0.0
        sent = 0
        names = self._names(_choice(ids, choice, everything))
        if dry_run:
            return len(names)
        for queue, some in _portions(names):
            after = countdown + sent * pause
            sent += len(self._app.broker.requeue_dead(queue, some, after=after, every=pause, by=_here()))
        return sent

    def edit(
        self,
        identity: str,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        headers: Mapping[str, Any] | None = None,
        payload: bytes | None = None,
        queues: Iterable[str] = (),
    ) -> DeadLetter:
        """Change the message of one: its arguments, headers (None takes one out), or all its bytes. Returns the letter
        as it is now.

        Raises: NoSuchLetter (also where somebody else changed it meanwhile), DecodeError and its like for a message
        that cannot be read, EncodeError.
        """
        if payload is not None and not isinstance(payload, bytes):
            raise TypeError(f"a payload is bytes, not {type(payload).__name__}")
        letter = self.get(identity, queues)
        made = payload if payload is not None else self._edited(letter, args, kwargs, headers)
        if not self._app.broker.edit_dead(letter, made, _here()):
            raise NoSuchLetter(f"dead letter {letter.id} is gone, or was changed just now")
        return self._app.broker.dead_letter(letter.queue, letter.id) or structs.replace(letter, payload=made)

    def purge(
        self,
        *ids: str,
        dry_run: bool = False,
        everything: bool = False,
        confirm: Callable[[int], Any] | None = None,
        **choice: Any,
    ) -> int:
        """Delete them for good. Returns how many. Without any choice `everything` must be said.

        `confirm` is called with their number before any is deleted, and raises to leave them: what dies meanwhile is
        not deleted.
        """
        names = self._names(_choice(ids, choice, everything))
        if dry_run:
            return len(names)
        if confirm is not None:
            confirm(len(names))
        return sum(self._app.broker.purge_dead(queue, some) for queue, some in _portions(names))

    # -- elsewhere -------------------------------------------------------------------------------------------

    def export(self, file: BinaryIO, *ids: str, **choice: Any) -> int:
        """Write them as JSON lines, the newest first, the original bytes in base64. Returns how many. They stay."""
        written = 0
        for letter in self.iterate(*ids, **choice):
            file.write(msgspec.json.encode(letter) + b"\n")
            written += 1
        return written

    def load(self, file: BinaryIO, queue: str | None = None) -> int:
        """Keep what `export` wrote, here (in `queue`, or in the queue that each came from). Returns how many.

        A file that is read twice makes letters twice. Raises: DecodeError that names the line, and how many are kept.
        """
        loaded = 0
        page: list[DeadLetter] = []
        size = 0
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                letter = _read(number, line)
            except DecodeError as error:
                raise DecodeError(f"{error}; the first {loaded} letters of the file are kept") from error
            page.append(letter if queue is None else structs.replace(letter, queue=queue))
            size += len(line)
            if len(page) == _PAGE or size > _STEP_BYTES:
                loaded += len(self._app.broker.import_dead(page, _here()))
                page, size = [], 0
        return loaded + len(self._app.broker.import_dead(page, _here()))

    # -- inside ----------------------------------------------------------------------------------------------

    def _queues(self, named: Iterable[str]) -> tuple[str, ...]:
        conf = self._app.conf
        queues = tuple(named) or conf.task_queues or (conf.task_default_queue,)
        return tuple(dict.fromkeys(str(getattr(queue, "name", queue)) for queue in queues))

    def _chosen(self, choice: Choice) -> Iterator[DeadLetter]:
        queues, wanted = self._queues(choice.queues), set(choice.ids)
        found = [letter for name in choice.ids for queue in queues if (letter := self._one(queue, name, choice))]
        yield from found
        tasks = wanted - {letter.id for letter in found}
        if wanted and not tasks:
            return
        for letter in self._all(queues, choice):
            if _fits(letter, choice) and (not wanted or letter.task_id in tasks):
                yield letter

    def _one(self, queue: str, name: str, choice: Choice) -> DeadLetter | None:
        letter = self._app.broker.dead_letter(queue, name)
        return letter if letter is not None and _fits(letter, choice) else None

    def _all(self, queues: Sequence[str], choice: Choice) -> Iterator[DeadLetter]:
        last: DeadLetter | None = None
        ages = {"newer": choice.newer, "older": choice.older}
        while page := self._app.broker.dead_letters(queues, _PAGE, before=last, **ages):
            yield from page
            last = page[-1]

    def _names(self, choice: Choice) -> Sequence[_Name]:
        return [(it.since, it.queue, it.id, len(it.payload)) for it in self._chosen(choice)]

    def _edited(
        self,
        letter: DeadLetter,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        headers: Mapping[str, Any] | None,
    ) -> bytes:
        accept = serializers.content_types(self._app.conf.accept_content or ())
        message = envelope.decode(letter.payload)
        if "task" not in message.headers:
            message = protocol1.to_protocol2(message, accept)
        changed = {**message.headers, **(headers or {})}
        changed = {name: value for name, value in changed.items() if value is not None or name not in (headers or {})}
        if args is not None or kwargs is not None:
            old_args, old_kwargs, embed = protocol2.read_body(message, accept)
            new_args, new_kwargs = old_args if args is None else args, old_kwargs if kwargs is None else kwargs
            name = serializers.name_of(message.content_type)
            body, content_type, encoding = protocol2.body(new_args, new_kwargs, embed, name)
            changed.pop("compression", None)
            changed.update(argsrepr=represent(tuple(new_args)), kwargsrepr=represent(dict(new_kwargs)))
            message = structs.replace(message, body=body, content_type=content_type, content_encoding=encoding)
        message = structs.replace(message, headers=changed)
        came_by = message.properties.get("delivery_info") or {}
        tag = str(message.properties.get("delivery_tag") or letter.id)
        return envelope.encode(message, letter.queue, tag, exchange=str(came_by.get("exchange") or ""))


#: Of a letter: since when, queue, id, bytes.
_Name = tuple[float, str, str, int]


def _portions(names: Iterable[_Name]) -> Iterator[tuple[str, Sequence[str]]]:
    """Ids by queue, the oldest first, each portion within the bounds of one step."""
    rest = sorted(names, reverse=True)
    while rest:
        portion: dict[str, Any] = {}
        count = size = 0
        while rest and count < _STEP and (not count or size + rest[-1][3] <= _STEP_BYTES):
            _, queue, name, length = rest.pop()
            portion.setdefault(queue, []).append(name)
            count, size = count + 1, size + length
        yield from portion.items()


def _choice(ids: tuple[str, ...], words: dict[str, Any], everything: bool = True) -> Choice:
    words = {name: value for name, value in words.items() if value is not None}
    words["queues"] = tuple(words.get("queues", ()))
    now = time.time()  # an age is one of now, also for what takes a while
    words.update({name: _instant(words[name], now) for name in ("older", "newer") if name in words})
    choice = Choice(ids=tuple(ids), **words)
    if choice.everything and not everything:
        raise ValueError("say which dead letters (ids, task=, reason=, older=, newer=), or everything=True")
    return choice


def _fits(letter: DeadLetter, choice: Choice) -> bool:
    newer, older = choice.newer, choice.older
    return (
        (choice.reason is None or letter.reason == choice.reason)
        and (choice.task is None or fnmatch.fnmatchcase(letter.task, choice.task))
        and (newer is None or letter.since >= newer)
        and (older is None or letter.since < older)
    )


def _instant(age: Age, now: float) -> float:
    if isinstance(age, datetime):
        return age.timestamp()
    return now - (age.total_seconds() if isinstance(age, timedelta) else float(age))


def _read(number: int, line: bytes) -> DeadLetter:
    try:
        letter = msgspec.json.decode(line, type=DeadLetter)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"line {number} is no dead letter: {error}") from error
    # A letter with these would be in the way of all others: in an engine's order, in its records, in lists of them.
    instants = (letter.since, *(each.when for each in letter.history))
    if not all(0 <= instant <= time.time() + _AHEAD for instant in instants):
        raise DecodeError(f"line {number} is no dead letter: an instant is before 1970 or in the future")
    if not all(0 <= count <= _MOST_COUNTED for count in (letter.strikes, letter.requeues)):
        raise DecodeError(
            f"line {number} is no dead letter: it counts {letter.strikes} strikes, {letter.requeues} requeues"
        )
    if not letter.queue:
        raise DecodeError(f"line {number} is no dead letter: its queue has no name")
    return letter


def _here() -> str:
    return socket.gethostname()
