"""What happens to dead letters in any order of events happens the same in every engine: memory is the reference."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing as closing_file
from typing import Any

import pytest

from celeriac.brokers.base import Broker, Consumer, DeadLetter, Delivery, Opened, Settlement, Shelf, Verdict
from celeriac.brokers.redis import RedisBroker
from celeriac.brokers.registry import open_broker
from celeriac.drivers import memory
from tests.contract.engines import QUEUE, Engine, closing, join_queue, publish, requeue, take, text_of, turn

REFERENCE = "memory://reference-of-dead-letters"


class Side:
    """One engine, driven by names of messages, which are the same on both sides."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.names = 0
        self.me = self._enlisted()
        self.held: dict[str, Delivery] = {}

    def _enlisted(self) -> Consumer:
        self.names += 1
        return join_queue(self.broker, f"n:1/0.{self.names}")

    def letters(self, names: Sequence[str]) -> list[DeadLetter]:
        by_name = {text_of(letter.payload): letter for letter in self.broker.dead_letters([QUEUE], 1000)}
        return [by_name[name] for name in names if name in by_name]

    def publish(self, name: str) -> None:
        publish(self.broker, name)

    def take(self) -> None:
        self.held.update({text_of(each.payload): each for each in take(self.me, 2)})

    def kill(self, names: Sequence[str], **facts: Any) -> None:
        taken = [self.held.pop(name) for name in names]
        turn(self.me, [Settlement(each, Verdict.DEAD, task_id=text_of(each.payload), **facts) for each in taken])

    def die(self) -> None:
        """The consumer dies; what it held is suspected by its heir, and comes back. (The order of several suspects is
        the engine's own affair, so there is one at most.)"""
        if len(self.held) > 1:
            return
        heir = self._enlisted()
        moved = self.broker.recover(self.me.name, [QUEUE], heir.name)
        turn(heir, [requeue(each, shelf=Shelf.SUSPECT, strikes=each.strikes + 1) for each in moved])
        self.me = heir
        self.held.clear()

    def do(self, action: str, name: str, some: list[str], chosen: list[str], after: float, again: float) -> None:
        """`some` of what is held, `chosen` dead letters."""
        ids = [letter.id for letter in self.letters(chosen)]
        if action == "requeue":
            assert len(self.broker.requeue_dead(QUEUE, ids, after=after, by="host")) == len(chosen)
        elif action == "purge":
            assert self.broker.purge_dead(QUEUE, ids[:1]) == len(chosen[:1])
        else:
            actions: dict[str, Callable[[], object]] = {
                "publish": lambda: self.publish(name),
                "take": self.take,
                "kill": lambda: self.kill(some, reason="failed", again_after=again, again_most=1),
                "done": lambda: turn(self.me, [Settlement(self.held.pop(each)) for each in some]),
                "die": self.die,
                "promote": self.promote,
            }
            actions[action]()

    def promote(self) -> None:
        """All that is due by now: the second chances of letters killed just before are, or will be in a moment."""
        while True:
            moved, wait = self.broker.promote([QUEUE])
            if not moved and (wait is None or wait > 1):
                return

    def seen(self) -> object:
        letters = [
            (
                text_of(each.payload),
                each.reason,
                each.strikes,
                each.requeues,
                each.again is None,
                [(happening.what, happening.who) for happening in each.history],
            )
            for each in self.broker.dead_letters([QUEUE], 1000)
        ]
        return sorted(letters), self.broker.count([QUEUE]), sorted(self.held), sorted(map(text_of, self._delayed()))

    def _delayed(self) -> list[bytes]:
        return [payload for _, payload in self.broker.delayed(QUEUE, 1000)]


@pytest.mark.parametrize("seed", range(4))
def test_the_same_events_have_the_same_end(engine: Engine, seed: int) -> None:
    if engine.name == "memory":
        pytest.skip("it is the reference")
    memory.clear(REFERENCE)
    sides = [Side(engine.broker()), Side(closing(open_broker(REFERENCE)))]
    chance = random.Random(seed)
    for number in range(80):
        names = sorted(sides[0].held)
        some = chance.sample(names, min(len(names), chance.randint(1, 3)))
        dead = sorted(text_of(letter.payload) for letter in sides[0].broker.dead_letters([QUEUE], 1000))
        chosen = chance.sample(dead, min(len(dead), chance.randint(1, 3)))
        after = chance.choice([0.0, 0.0, 3600.0])
        again = chance.choice([0.0, 0.001])
        action = chance.choice(
            ["publish", "take", "take", "kill", "kill", "done", "die", "requeue", "purge", "promote"]
        )
        for side in sides:
            side.do(action, f"{number}", some, chosen, after, again)
        one, other = (side.seen() for side in sides)
        assert one == other, (number, action)
    memory.clear(REFERENCE)
    (_sound_file if engine.name == "sqlite" else _sound_keys)(engine.url)


def _sound_file(url: str) -> None:
    """Whatever is kept in two places agrees."""
    with closing_file(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:

        def number(question: str) -> int:
            return int(file.execute(f"SELECT {question}").fetchone()[0] or 0)

        rows = {table: number(f"count(*) FROM {table}") for table in ("waiting", "delayed", "held", "dead", "messages")}
        assert rows["messages"] == sum(rows.values()) - rows["messages"]
        assert number("sum(total) FROM tallies WHERE name LIKE 'dead:%'") == rows["dead"]
        assert number("sum(total) FROM tallies WHERE name = 'past'") == number("count(*) FROM past")
        assert number("count(*) FROM dead_more") == rows["dead"]
        assert number("count(*) FROM struck WHERE message NOT IN (SELECT id FROM messages)") == 0


def _sound_keys(url: str) -> None:
    broker = RedisBroker(Opened(url, {}))
    base = broker._layout.keys(QUEUE).base
    names = ("dead", "dead:index", "dead:again", "dead:past", "dead:past:index")
    commands: list[Any] = [("HKEYS" if name in ("dead", "dead:past") else "ZRANGE", base + name) for name in names]
    commands = [(*each, 0, -1) if each[0] == "ZRANGE" else each for each in commands]
    dead, index, again, past, past_index = (set(found) for found in broker._pool.run(*commands, timeout=5))
    broker.close()
    assert dead == index
    assert again <= dead
    assert past == past_index
