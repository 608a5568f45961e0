"""The one traversal of a graph. Build, check, the renderers and diff all stand on it.

It does not recurse, so the depth of a config never meets Python's recursion limit, and it meets each node once,
however many edges lead to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from forge.graph.node import Call, Expr, Map, Seq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from forge.base.paths import Path
    from forge.graph.node import Edge, Node

__all__ = ["edges", "find", "fold", "users", "walk"]

Result = TypeVar("Result")


def edges(node: Node) -> tuple[Edge, ...]:
    """The edges that leave a node, in the order of the config; positional arguments first."""
    if isinstance(node, Call):
        return node.args + node.kwargs if node.args else node.kwargs
    if isinstance(node, (Map, Seq)):
        return node.items
    return node.deps if isinstance(node, Expr) else ()


def walk(root: Node) -> Iterator[Node]:
    """Every node reachable from ``root``, once, children before their users (post-order)."""
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
            continue
        if id(node) in seen:
            continue
        seen.add(id(node))
        leaving = edges(node)
        if not leaving:
            yield node  # most nodes are plain values
            continue
        stack.append((node, True))
        stack.extend((edge.node, False) for edge in reversed(leaving) if id(edge.node) not in seen)


def fold(root: Node, combine: Callable[[Node, list[Result]], Result]) -> Result:
    """Combine the results of a node's edges into the node's own, once a node; the root's result is returned."""
    results: dict[int, Result] = {}
    for node in walk(root):
        results[id(node)] = combine(node, [results[id(edge.node)] for edge in edges(node)])
    return results[id(root)]


def users(root: Node) -> dict[int, list[tuple[Node, Edge]]]:
    """For each node, by ``id``, the nodes that use it and by which edge; the root has none."""
    found: dict[int, list[tuple[Node, Edge]]] = {}
    for node in walk(root):
        for edge in edges(node):
            found.setdefault(id(edge.node), []).append((node, edge))
    return found


def find(root: Node, path: Path) -> Node | None:
    """The node one reaches from ``root`` by the keys of ``path``, through references too; None when there is none."""
    node = root
    for key in path:
        step = next((edge for edge in edges(node) if edge.key == key or str(edge.key) == str(key)), None)
        if step is None:
            return None
        node = step.node
    return node
