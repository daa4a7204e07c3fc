"""The tree of results: tasks that a task has called, and what those called. Follows `children`; waits only through
`get`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from ..errors import IncompleteStream
from ..foundation.graph import DependencyGraph, GraphFormatter


class Tree:
    """What `AsyncResult` knows of its descendants. Celery's reference: `celery.result`."""

    id: str | None

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """(parent, result) of itself and all descendants, breadth first.

        Raises: IncompleteStream at a result that has not ended, unless `intermediate` (then it is passed on as it is).
        """
        pending: deque[tuple[Any, Any]] = deque([(None, self)])
        while pending:
            parent, node = pending.popleft()
            yield parent, node
            if node.ready():
                pending.extend((node, child) for child in node.children or ())
            elif not intermediate:
                raise IncompleteStream

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """(result, value) of itself and all descendants, as they are waited for; `kwargs` are those of `get`."""
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, node.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last descendant."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def build_graph(self, intermediate: bool = False, formatter: GraphFormatter | None = None) -> DependencyGraph:
        """Itself and its descendants as a graph, which `to_dot(file)` writes for Graphviz."""
        graph = DependencyGraph(formatter=formatter or GraphFormatter(root=self.id, shape="oval"))
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @property
    def supports_native_join(self) -> bool:
        """Waiting for many is one wait here, whatever the backend."""
        return True

    @cached_property
    def graph(self) -> DependencyGraph:
        """`build_graph()`, once all have ended."""
        return self.build_graph()
