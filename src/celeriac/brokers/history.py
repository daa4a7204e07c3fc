"""What happened to a message before and while it was a dead letter, as one short line that every engine can keep.

    1763600000123@strike@n1:77-ab/0.1,1763600031000@failed@,1763600600000@again@

milliseconds, what, who; at most the last 20. `dead.lua` writes the same. Pure.
"""

from __future__ import annotations

import re
from hashlib import sha1
from operator import attrgetter

from msgspec import Struct

MOST = 20

#: Sent again by upkeep, by somebody; changed by somebody; brought in from a file.
AGAIN, REQUEUED, EDITED, IMPORTED, STRIKE = "again", "requeued", "edited", "imported", "strike"

_UNSAFE = re.compile(r"[;,@\s\x00-\x1f]")


class Happening(Struct, frozen=True):
    """One line of a history."""

    #: Seconds since the epoch, by the server's clock.
    when: float
    #: `strike` (its process or node died), the reason for which it was set aside, `requeued`, `again` (by itself),
    #: `edited`, `imported`.
    what: str
    #: The consumer that held it, or the host from which somebody did it; may be empty.
    who: str


def entry(when: float, what: str, who: str = "") -> str:
    return f"{int(when * 1000)}@{_UNSAFE.sub('_', what)}@{_UNSAFE.sub('_', who)}"


def joined(*texts: str) -> str:
    """The last of them all."""
    entries = [one for text in texts for one in text.split(",") if one]
    return ",".join(entries[-MOST:])


def read(*texts: str) -> tuple[Happening, ...]:
    found = []
    for text in joined(*texts).split(","):
        when, _, rest = text.partition("@")
        what, _, who = rest.partition("@")
        if when.isdigit():
            found.append(Happening(int(when) / 1000, what, who))
    return tuple(sorted(found, key=attrgetter("when")))


def write(happenings: tuple[Happening, ...]) -> str:
    return joined(*(entry(each.when, each.what, each.who) for each in happenings))


def name_of(task_id: str, payload: bytes) -> str:
    """Under which a message's history is kept while it is in its queue again: a retry has the same id, other bytes."""
    return sha1(task_id.encode("utf-8", "surrogatepass") or payload, usedforsecurity=False).hexdigest()
