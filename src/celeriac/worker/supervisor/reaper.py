"""Who is dead. Pure: it is shown lease counters and the time, and remembers since when each stood still.

A lease is taken only after its counter was seen unchanged for a whole lease on our own monotonic clock over an unbroken
connection: `forget` after an outage, restart or failover starts that count anew, and so does a pause between two looks
(a server that stood still, this node frozen) in which the others could not renew either.
"""

from __future__ import annotations

from collections.abc import Mapping

#: The longest pause between two looks that still counts as watching, in leases. Looks come three times a lease.
BLINK = 2 / 3


def node_of(consumer: str) -> str:
    """The node's part of a consumer's name (`<node>/<slot>.<generation>`)."""
    return consumer.rpartition("/")[0]


class Reaper:
    """`own` is the node that reaps: it never finds itself dead. `lease` in seconds."""

    def __init__(self, own: str, lease: float) -> None:
        self._own = own
        self._lease = lease
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked = 0.0

    def forget(self) -> None:
        self._seen.clear()

    def dead(self, leases: Mapping[str, int], now: float) -> list[tuple[str, dict[str, int]]]:
        """Nodes of which every lease stood still for a whole lease, each with its consumers and counters."""
        if now - self._looked > BLINK * self._lease:
            self.forget()
        self._looked = now
        fresh: dict[str, tuple[int, float]] = {}
        nodes: dict[str, dict[str, int]] = {}
        alive: set[str] = set()
        for consumer, counter in leases.items():
            node = node_of(consumer)
            if node == self._own:
                continue
            known = self._seen.get(consumer)
            since = known[1] if known is not None and known[0] == counter else now
            fresh[consumer] = (counter, since)
            if now - since >= self._lease:
                nodes.setdefault(node, {})[consumer] = counter
            else:
                alive.add(node)
        self._seen = fresh
        return [(node, consumers) for node, consumers in nodes.items() if node not in alive]
