"""A run under fault: tasks of 0, 5 and 500 ms are sent all the while, blow follows blow, and then the account is made.

The tests play a few seconds of it, the soak (`benchmarks/soak`) as many minutes as asked for.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable

from tests.faults.blows import Blows
from tests.faults.world import World
from tests.processes import until

#: Run times in seconds, and how many of each go out together.
LOAD = ((0.0, 40), (0.005, 10), (0.5, 1))
#: Seconds between two such sendings, and how many tasks may wait before the sender does.
EVERY, BACKLOG = 0.1, 150
#: Deaths that convict a task: here they come so thick that three of them say nothing about what ran.
STRIKES = 1000


class Chaos:
    """`play` blows on what `world` keeps; `settle` afterwards."""

    def __init__(self, world: World, blows: Blows, backlog: int = BACKLOG) -> None:
        self._world = world
        self._backlog = backlog
        self._blows = blows
        self._over = threading.Event()
        self._sender = threading.Thread(target=self._send, name="sender", daemon=True)
        self._trouble: list[BaseException] = []
        self.dealt: Counter[str] = Counter()

    def play(self, kinds: Iterable[str]) -> None:
        """Deal these, one after the other, at moments of chance."""
        known = self._blows.kinds()
        self._sender.start()
        try:
            for kind in kinds:
                end = time.monotonic() + self._world.rng.uniform(0.1, 0.6)
                until(lambda end=end: time.monotonic() > end, within=10)  # type: ignore[misc]
                print(f"{time.monotonic():.1f} {kind}")
                known[kind]()
                self.dealt[kind] += 1
        finally:
            self._over.set()
            self._sender.join()
        if self._trouble:
            raise self._trouble[0]

    def settle(self, within: float = 60) -> None:
        """All that was sent has run, whatever ran twice is excused, and nothing is left."""
        world = self._world
        world.until_drained(within=within)
        self._blows.over()
        world.until_dead_are_forgotten()
        world.stop()
        world.check()
        print(f"sent {len(world.accepted)} and perhaps {len(world.uncertain)}, ran {len(world.journal.started())}")

    def _send(self) -> None:
        world = self._world
        try:
            while not self._over.wait(EVERY):
                if len(world.accepted) - len(world.journal.read().ends) > self._backlog:
                    continue
                for seconds, count in LOAD:
                    for _ in range(count):
                        world.send_one(seconds)
        except BaseException as error:
            self._trouble.append(error)
