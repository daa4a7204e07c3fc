"""The broker port: what moves batches of messages between queues and consumers. `memory.py` is the reference.

Everything is synchronous and batch-first. A `Broker` is opened per process and may be shared by its threads;
a `Consumer` belongs to one thread at a time. Every wait has a deadline; a server that cannot be reached within it
raises `OperationalError`, and nothing that had been accepted is lost by it. Adapters never import each other, never
run user code, never look into a message beyond what `wire` decodes for them.

Words: a *consumer* is one incarnation of one runner (`<node>:<pid>-<nonce>/<slot>.<generation>`); it holds a *lease*, a
counter that its supervisor makes grow. A delivery is *in flight* while it stands in the consumer's record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Protocol

from msgspec import Struct

from ..wire.message import Message, Record
from .bounds import Bounds
from .history import Happening
from .revocation import Revocation


class Capabilities(Struct, frozen=True):
    """What an engine can do, so that nothing above asks for its name."""

    #: Delayed messages are stored as such at `publish` (`Outgoing.due`); else the worker puts them off.
    native_delay: bool = False
    #: The most messages worth publishing or settling in one call.
    largest_batch: int = 1000
    #: `Consumer.send` returns before the server has answered: the caller may run tasks meanwhile.
    pipelined: bool = False
    #: Other processes can reach the same queues (False: memory).
    shared: bool = True


class Outgoing(Struct, frozen=True):
    """A message on its way into a queue."""

    queue: str
    message: Message
    priority: int | None = None
    #: Not before this instant (seconds since the epoch), the same as the message's `eta`. Only engines with
    #: `native_delay` look at it.
    due: float | None = None


class Shelf(IntEnum):
    """Where in its queue a waiting message stands."""

    READY = 0
    #: Its node died, or its process died while it ran: reserved with nothing beside it in the same runner.
    SUSPECT = 1
    #: Nodes died at least twice under it: reserved only by a runner whose node runs nothing else.
    QUARANTINE = 2


class Delivery(Struct, frozen=True):
    """A message reserved for one consumer."""

    queue: str
    #: Grows with each delivery of a consumer, in the order in which they are to run.
    receipt: int
    #: The envelope, byte for byte as it was published (`wire.envelope` reads it).
    payload: bytes
    #: Deaths of processes or nodes under this message so far.
    strikes: int = 0
    shelf: Shelf = Shelf.READY
    #: Only from `Broker.recover`: the receipt under which the dead consumer held it, by which its board names what ran.
    was: int = 0
    #: The same: the dead consumer.
    of: str = ""


class Verdict(IntEnum):
    """What becomes of a delivery."""

    DONE = 0
    REQUEUE = 1
    PUT_OFF = 2
    DEAD = 3


class Member(Struct, frozen=True):
    """A member of a chord that has ended, to be counted in the step that settles it (`backends.base.Counting`)."""

    group_id: str
    #: By which it is counted once, however often it is delivered.
    task_id: str
    #: Its place among the members.
    index: int
    #: Its result document, final.
    document: bytes
    #: Published in the same step if this one completes the group.
    fire: Outgoing


class Settlement(Struct, frozen=True):
    """The end of a delivery: verdict, result to store and messages to publish, all or nothing where `joined`.

    With `delivery` None there is nothing to acknowledge (it was acknowledged early): results and follow-ups only.
    """

    delivery: Delivery | None
    verdict: Verdict = Verdict.DONE
    record: Record | None = None
    follow_ups: tuple[Outgoing, ...] = ()
    #: Only where the engine counts: members of chords that end with this delivery, and results of tasks that will not
    #: run because of it.
    members: tuple[Member, ...] = ()
    also: tuple[Record, ...] = ()
    #: PUT_OFF: not before this instant, seconds since the epoch by the server's clock.
    due: float = 0.0
    #: REQUEUE: where to, and with how many strikes. READY goes to the end that is taken next; what is ready or put off
    #: in one of Celery's own lists has no room for strikes and forgets them, the other shelves never do.
    shelf: Shelf = Shelf.READY
    strikes: int = 0
    #: DEAD: one word (`unregistered`, `undecodable`, `disallowed`, `lost`, `rejected`, `failed`, `unsupported` …), a
    #: sentence, and the traceback if there is one.
    reason: str = ""
    detail: str = ""
    traceback: str = ""
    #: DEAD: it is sent again by upkeep after so many seconds (0: not), until that was done so many times.
    again_after: float = 0.0
    again_most: int = 0
    #: DEAD: facts for listing; empty where the message does not decode.
    task: str = ""
    task_id: str = ""


class Turn(Struct, frozen=True):
    """The answer to one settle-and-reserve call."""

    deliveries: list[Delivery]
    #: Receipts whose settlement was refused, because the delivery was no longer this consumer's.
    refused: tuple[int, ...] = ()
    #: The server's clock, seconds since the epoch.
    now: float = 0.0
    #: Suspects wait that may only be reserved by a consumer that holds nothing: drain, then ask again.
    suspects: bool = False
    #: Of the newest revocation when these were reserved (0: there is none). What differs from the one last read, in
    #: either direction, asks for `Broker.revocations`.
    revision: int = 0


class Counts(Struct, frozen=True):
    """How many messages of a queue stand where."""

    ready: int = 0
    delayed: int = 0
    in_flight: int = 0
    suspects: int = 0
    quarantined: int = 0
    dead: int = 0


#: Bytes of one queue that a page of dead letters has at most, unless the first alone has more.
PAGE_BYTES = 16 << 20


class DeadLetter(Struct, frozen=True):
    """A message that could not run, with its reason and its original bytes."""

    id: str
    queue: str
    payload: bytes
    reason: str
    detail: str
    task: str
    task_id: str
    #: When it was set aside, seconds since the epoch by the server's clock.
    since: float
    strikes: int = 0
    traceback: str = ""
    #: The oldest first, at most the last 20: earlier deaths and requeues of the same task too.
    history: tuple[Happening, ...] = ()
    #: How often upkeep has sent it again, and when it will (None: not).
    requeues: int = 0
    again: float | None = None


class Consumer(Protocol):
    """One runner's hold on the broker. At most one `send` is unanswered at any time.

    After an `OperationalError` the next call connects anew and reconciles by itself: settlements that were sent and not
    answered are sent again (they are idempotent), and deliveries that the server reserved in the lost answer are
    returned by the next `receive` as if reserved by it.
    """

    name: str

    def send(
        self,
        settlements: Sequence[Settlement],
        limit: int,
        *,
        max_bytes: int = 0,
        shelf: Shelf = Shelf.READY,
    ) -> None:
        """Put one call in flight: settle all, then reserve up to `limit` (0: none) messages, at least one if there
        is one, and no further ones past `max_bytes` (0: no bound).

        With `shelf` READY ready messages are reserved, priorities first and queues in rotation; SUSPECT ones before
        them, one alone, if this consumer holds nothing else. QUARANTINE reserves one quarantined message alone.
        """
        ...

    def receive(self) -> Turn:
        """The answer of the call in flight.

        Raises: OperationalError (deadline, connection lost); FencedError (the lease is gone: stop, nothing was
        settled).
        """
        ...

    def close(self) -> None:
        """Close connections; the lease and the records stay (see `Broker.recover`)."""
        ...


class Waiter(Protocol):
    """Waits, holding nothing, until a queue may have something. One a node: it wakes one idle runner."""

    def arm(self) -> int:
        """Messages reservable right now, at least as many as 1 if any; the wait is armed for what comes after."""
        ...

    def wait(self, timeout: float, also: int | None = None) -> bool:
        """True as soon as something may have been queued since `arm`; False after `timeout` seconds, when interrupted,
        and (engines that are `shared`) as soon as the file descriptor `also` is readable."""
        ...

    def interrupt(self) -> None:
        """From any thread: make `wait` return now."""
        ...

    def close(self) -> None: ...


class Broker(Protocol):
    """The port. Names of consumers and queues are plain text; both are escaped by the adapter where it must."""

    capabilities: Capabilities

    def open(self) -> None:
        """Connect, check the layout. Raises: OperationalError, LayoutError."""
        ...

    def close(self) -> None:
        """Release connections. Safe twice, and unopened."""
        ...

    def join(self, identity: tuple[str, Any], location: Mapping[str, Any]) -> bool:
        """With the `identity` and `location` of the backend in use: True if they are on one server, so that from now on
        a settlement's `record` is stored in its own atomic step.

        False: records are ignored here; whoever settles puts results first, then sends the settlements.
        """
        ...

    def declare(self, queues: Sequence[str]) -> None:
        """Make the queues known as stock peers expect. Idempotent."""
        ...

    def publish(self, messages: Sequence[Outgoing], timeout: float | None = None) -> None:
        """Returns when the broker has them all, in order. Raises: OperationalError within the publish deadline, or
        within `timeout` seconds if that is sooner; QueueFull, with nothing queued, where a queue would get longer
        than its limit (`Bounds.length_of`), unless the oldest are to make room. Follow-ups are not limited."""
        ...

    # -- consumers and leases -------------------------------------------------------------------------------

    def enlist(self, consumer: str, queues: Sequence[str]) -> None:
        """Create the consumer's lease on these queues. Without one, reserving and settling raise FencedError."""
        ...

    def consumer(self, name: str, queues: Sequence[str]) -> Consumer:
        """The hold of an enlisted consumer, with connections of its own."""
        ...

    def renew(self, consumers: Sequence[str], queues: Sequence[str]) -> list[str]:
        """Make the counters grow; returns those whose lease is gone."""
        ...

    def leases(self, queues: Sequence[str]) -> Mapping[str, int]:
        """Every consumer that holds a lease on any of the queues, with its counter (the sum over the queues)."""
        ...

    def recover(self, consumer: str, queues: Sequence[str], into: str, counter: int | None = None) -> list[Delivery]:
        """Take the lease of a dead consumer and move what it had in flight to the (enlisted) consumer `into`, one
        atomic step per queue. With `counter`, only if the lease still stands at it: else nothing happens.

        Returns the moved deliveries in the order of their old receipts (`Delivery.was`), with `into`'s receipts; settle
        them through `into`'s Consumer.
        """
        ...

    def held(self, consumer: str, queues: Sequence[str]) -> list[Delivery]:
        """What the consumer has in flight, in no order. A look, which changes nothing."""
        ...

    def give_back(self, consumer: str, queues: Sequence[str], after: int) -> int:
        """Return what the consumer holds with receipts above `after` to the queue, to be taken next, without a
        strike. Suspects go back to their shelf. Returns the highest receipt ever issued to the consumer, or a higher
        one never to be issued: all that it held in (after, returned] is not its own any more. So it may be repeated
        when the answer was lost."""
        ...

    def dismiss(self, consumer: str, queues: Sequence[str]) -> None:
        """End a lease that holds nothing any more; what it still holds goes back to the queue first."""
        ...

    # -- upkeep -------------------------------------------------------------------------------------------

    def promote(self, queues: Sequence[str], limit: int = 1000) -> tuple[int, float | None]:
        """Move due messages to their queues. Returns how many, and in how many seconds the next is due."""
        ...

    def waiter(self, queues: Sequence[str]) -> Waiter:
        """A waiter with a connection of its own. Raises: OperationalError."""
        ...

    # -- revocations ----------------------------------------------------------------------------------------

    def revoke(self, entries: Sequence[Revocation]) -> int:
        """Store that these are not to run (their `revision` is set here), for all queues. Returns the revision of the
        last. What is reserved from now on comes with a `Turn.revision` at least as high. Safe to repeat."""
        ...

    def revocations(self, since: int = 0) -> tuple[int, list[Revocation]]:
        """The newest revision, and all entries newer than `since`, in order; all there are, where the newest revision
        is below `since` (the server was emptied, say). At most `Bounds.revokes_max`."""
        ...

    # -- looking and tidying ---------------------------------------------------------------------------------

    def count(self, queues: Sequence[str]) -> dict[str, Counts]: ...

    def quarantined(self, queues: Sequence[str]) -> int:
        """How many messages wait on the shelf of quarantine: a cheap look, whatever the length of the queues."""
        ...

    def purge(self, queues: Sequence[str]) -> int:
        """Delete what waits (ready, delayed, suspect, quarantined), not what is in flight or dead. Returns how many."""
        ...

    def peek(self, queue: str, limit: int = 100) -> list[bytes]:
        """Payloads that wait, the next to be taken first."""
        ...

    def delayed(self, queue: str, limit: int = 100) -> list[tuple[float, bytes]]:
        """What is put off, soonest first: (due, payload)."""
        ...

    def release(self, queue: str) -> int:
        """Hand all delayed messages back to the queue as they were published (for a stock-only fleet)."""
        ...

    # -- dead letters: `Bounds.dead_letter_max` of a queue are kept for `dead_letter_expires`, the oldest go first ----

    def dead_letters(
        self,
        queues: Sequence[str],
        limit: int = 100,
        *,
        before: DeadLetter | None = None,
        newer: float | None = None,
        older: float | None = None,
    ) -> list[DeadLetter]:
        """The newest first. The last of one page is the next one's `before`, whatever has become of it. Only what was
        set aside at or after the instant `newer`, and before `older`. Where letters are large a page has fewer of them
        (`PAGE_BYTES`), at least one if there is one: only an empty page is the end."""
        ...

    def dead_letter(self, queue: str, letter_id: str) -> DeadLetter | None: ...

    def requeue_dead(
        self, queue: str, ids: Sequence[str], *, after: float = 0.0, every: float = 0.0, by: str = ""
    ) -> list[str]:
        """Send dead letters again, original bytes, strikes forgotten: the first in `after` seconds (0: now), each
        further one `every` seconds later. `by` goes into their history. Returns the ids that were found: repeated
        after a lost answer it sends nothing twice."""
        ...

    def edit_dead(self, letter: DeadLetter, payload: bytes, by: str = "") -> bool:
        """Put other bytes into a letter as it was read; False where it is gone, or other than read. Its id, place
        and chances stay."""
        ...

    def purge_dead(self, queue: str, ids: Sequence[str]) -> int:
        """Delete dead letters for good. Returns how many were found."""
        ...

    def import_dead(self, letters: Sequence[DeadLetter], by: str = "") -> list[str]:
        """Keep letters that were exported, with their bytes, reasons and instants. Returns their new ids."""
        ...


class Opened(Struct, frozen=True):
    """What an adapter's factory is called with (see `registry`)."""

    url: str
    options: Mapping[str, Any]
    #: Seconds: connect and each command; a publish in all.
    connect_timeout: float = 4.0
    publish_timeout: float = 5.0
    bounds: Bounds = Bounds()
