"""Rate limits: when a task of so many per minute may start. Pure: told instants, it answers instants.

Each rate-limited task of a node has one `Schedule`, which all its runners share. A message that comes too early is put
off, to a moment of its own where the next minute has one left. Two questions are kept apart:

* **May one start now?** By the instants of starts alone: one each `1 / rate` seconds, and one that starts late may be
  followed a little sooner (`slack`, less than one interval for all rates up to 18 a second), so that a few milliseconds
  on the way from broker to runner do not cost turns. So in any window of W seconds at most rate * (W + slack) + 1
  start.
* **When is who to come back?** Tickets: moments, an interval apart, each promised to one message that was put off. They
  end at `tail` and are used from the front, so a number is enough to know them all. A ticket bears no name and the
  message is not changed: whoever comes when a ticket is due uses it. Normally that is the one it was given to; if a
  backlog delays that one, another takes its turn, and it takes one of those that follow. So no turn is lost while
  anybody is there to take it, and of those put off again each has a moment in the schedule, as before.

A message that comes between two promised moments does not push in, unless nobody would have to wait for it. What finds
no moment within the horizon is put off to a random one in its second half, unpromised: a hundred thousand that wait
come by as a steady trickle, and a limit that is changed holds for all of them within the horizon.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from msgspec import Struct

#: Seconds within which moments are promised.
HORIZON = 60.0
#: An overdue ticket counts as long as this, seconds: whoever it was given to is elsewhere.
_OVERDUE = 10.0
#: The least slack, seconds: about what a message needs from the broker to a runner.
_LEAST_SLACK = 0.05


class Schedule(Struct):
    """What is kept of one rate-limited task; instants in seconds since the epoch, by the broker's clock."""

    #: Starts a second that the rest was made with.
    rate: float = 0.0
    #: The next start is due.
    next: float = 0.0
    #: The last promised moment, and how many are promised up to it.
    tail: float = 0.0
    tickets: int = 0


def ask(schedule: Schedule, rate: float, now: float, chance: Callable[[], float] = random.random) -> float:
    """0.0: it may start now, and has been counted. Else the instant to put the message off to."""
    gap = 1.0 / rate
    _tidy(schedule, rate, gap, now)
    if now >= schedule.next - slack(gap) and _is_free(schedule, gap, now):
        _start(schedule, gap, now)
        return 0.0
    if schedule.tickets and _front(schedule, gap) <= now:
        schedule.tickets -= 1  # it came too soon after another: it gives its ticket back for a later one
    moment = max(schedule.tail + gap if schedule.tickets else 0.0, schedule.next, now)
    if moment > now + HORIZON:
        return now + HORIZON * (0.5 + 0.5 * chance())
    schedule.tail = moment
    schedule.tickets += 1
    return moment


def charge(schedule: Schedule, rate: float, now: float) -> None:
    """One starts now whatever the limit says: it is counted."""
    gap = 1.0 / rate
    _tidy(schedule, rate, gap, now)
    _start(schedule, gap, now)


def slack(gap: float) -> float:
    """How much sooner than an interval after the last one the next may start, where that one was late."""
    return max(0.9 * gap, _LEAST_SLACK) if gap < 1.0 else min(0.9 * gap, 0.9)


def _tidy(schedule: Schedule, rate: float, gap: float, now: float) -> None:
    """Begin anew where the limit was changed or the clock set back; drop the tickets nobody came for."""
    if schedule.rate != rate:
        schedule.rate, schedule.tickets = rate, 0
        schedule.next = min(schedule.next, now + gap)
    if schedule.next > now + gap + slack(gap) or schedule.tail > now + HORIZON + gap:
        schedule.next, schedule.tickets = min(schedule.next, now + gap), 0
    if schedule.tickets:
        kept = math.floor((schedule.tail - now + _OVERDUE) / gap) + 1
        schedule.tickets = max(0, min(schedule.tickets, kept))


def _front(schedule: Schedule, gap: float) -> float:
    return schedule.tail - (schedule.tickets - 1) * gap


def _is_free(schedule: Schedule, gap: float, now: float) -> bool:
    """A ticket is due, or the next one is far enough away not to be kept waiting; or a turn goes by unused. Without the
    last, two messages that always come late could put each other off for ever."""
    if not schedule.tickets or now >= schedule.next + 0.5 * gap:
        return True
    front = _front(schedule, gap)
    return front <= now or front >= max(schedule.next, now) + gap - slack(gap)


def _start(schedule: Schedule, gap: float, now: float) -> None:
    if schedule.tickets and _front(schedule, gap) <= now:
        schedule.tickets -= 1
    schedule.next = max(schedule.next, now) + gap
