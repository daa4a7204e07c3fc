"""A directed graph of things and what they lead to, and its text for Graphviz. Knows nothing of what is in it."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import Any, Protocol


class Writable(Protocol):
    """What `print` writes to."""

    def write(self, text: str, /) -> object: ...


class GraphFormatter:
    """How nodes and edges are drawn: Graphviz attributes, those of every node given as keywords."""

    node_scheme: Mapping[str, Any] = {"fillcolor": "palegreen3", "color": "palegreen4"}
    term_scheme: Mapping[str, Any] = {"fillcolor": "palegreen1", "color": "palegreen2"}
    edge_scheme: Mapping[str, Any] = {"color": "darkseagreen4", "arrowcolor": "black", "arrowsize": 0.7}
    graph_scheme: Mapping[str, Any] = {"bgcolor": "mintcream"}
    scheme: Mapping[str, Any] = {"shape": "box", "arrowhead": "vee", "style": "filled", "fontname": "HelveticaNeue"}

    def __init__(
        self, root: Any = None, type: str = "digraph", id: str = "dependencies", indent: int = 0, **scheme: Any
    ) -> None:
        self.id, self.root, self.type = id, root, type
        self.scheme = {**self.__class__.scheme, **scheme}
        self._arrow = "->" if type == "digraph" else "--"
        self._outer = " " * 4 * indent
        self._inner = self._outer + " " * 4

    def label(self, node: Any) -> str:
        """What is written on a node."""
        return str(node)

    def head(self) -> str:
        """The first lines."""
        attributes = _attributes({**self.scheme, **self.graph_scheme, "root": self.root})
        return f"{self._outer}{self.type} {self.id} {{\n{self._inner}graph [{attributes}]"

    def tail(self) -> str:
        """The last line."""
        return f"{self._outer}}}"

    def node(self, node: Any, *, terminal: bool = False) -> str:
        """The line of a node."""
        own = self.term_scheme if terminal else self.node_scheme
        return f"{self._inner}{_quoted(self.label(node))} [{_attributes({**self.scheme, **own})}]"

    def edge(self, start: Any, end: Any) -> str:
        """The line of an edge."""
        drawn = _attributes({**self.scheme, **self.edge_scheme})
        return f"{self._inner}{_quoted(self.label(start))} {self._arrow} {_quoted(self.label(end))} [{drawn}]"


class DependencyGraph:
    """Nodes and, for each, the nodes it leads to, in the order in which they were added."""

    def __init__(self, it: Iterable[tuple[Any, Iterable[Any]]] = (), formatter: GraphFormatter | None = None) -> None:
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[Any, list[Any]] = {}
        pairs = [(node, list(others)) for node, others in it]
        for node, _ in pairs:
            self.add_arc(node)
        for node, others in pairs:
            for other in others:
                self.add_edge(node, other)

    def add_arc(self, obj: Any) -> None:
        """Add a node."""
        self.adjacent.setdefault(obj, [])

    def add_edge(self, A: Any, B: Any) -> None:  # noqa: N803 - Celery's names
        """Add an edge from a node that is there."""
        self.adjacent[A].append(B)

    def edges(self) -> Iterator[Any]:
        """The nodes that lead somewhere."""
        return (node for node, others in self.adjacent.items() if others)

    def to_dot(self, fh: Writable, formatter: GraphFormatter | None = None) -> None:
        """Write it for Graphviz."""
        draw = formatter or self.formatter
        drawn: set[str] = set()
        lines = [draw.head()]
        for node, others in self.adjacent.items():
            if draw.label(node) not in drawn:
                drawn.add(draw.label(node))
                lines.append(draw.node(node, terminal=not others))
            lines.extend(draw.edge(node, other) for other in others)
        lines.append(draw.tail())
        fh.write("\n".join(lines) + "\n")

    def items(self) -> ItemsView[Any, list[Any]]:
        """Nodes and where they lead."""
        return self.adjacent.items()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, node: Any) -> bool:
        return node in self.adjacent


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _attributes(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_quoted(str(value))}" for name, value in values.items())
