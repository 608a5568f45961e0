"""Where a picture puts each node: in one place, however many others use it.

A node belongs where the config wrote it; every other user refers to that place. A node that only references lead to
(because the picture starts below its place) belongs to the user nearest to the root.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from forge.base.errors import GraphError
from forge.base.paths import dotted, parse_dotted
from forge.base.spelling import did_you_mean
from forge.graph.node import Expr, Graph, Map
from forge.graph.walk import edges, find, users, walk
from forge.render.label import inline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.paths import Path
    from forge.graph.node import Edge, Node

__all__ = ["Places", "node_at", "part", "places"]


@dataclass(slots=True)
class Places:
    """By the ``id`` of each node below a root: its one place, its users, and how many boxes lie below it."""

    root: Node
    paths: dict[int, Path] = field(default_factory=dict)
    users: dict[int, list[tuple[Node, Edge]]] = field(default_factory=dict)
    homes: dict[int, tuple[int, int]] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)

    def parts(self, node: Node) -> Iterator[tuple[Edge, bool]]:
        """The edges of a node; whether the node they lead to belongs here, rather than being referred to."""
        if isinstance(node, Expr):
            return
        for position, edge in enumerate(edges(node)):
            yield edge, self.homes.get(id(edge.node)) == (id(node), position)

    def use_count(self, node: Node) -> int:
        """How many others use a node; a mapping that only gives it its place in the config does not count."""
        home = self.homes.get(id(node), (0, 0))[0]
        users = (user for user, _ in self.users.get(id(node), ()))
        return sum(1 for user in users if not (isinstance(user, Map) and id(user) == home))

    def name(self, node: Node) -> str:
        """The dotted path of a node's place, below the root of the picture."""
        return dotted(self.paths[id(node)])


def places(root: Node) -> Places:
    """The place of every node below ``root``; what only an expression read has none."""
    found = Places(root, {id(root): ()})
    order = list(walk(root))
    offers: dict[int, list[tuple[bool, int, Node, int, Edge]]] = {}
    for node in reversed(order):  # users come before what they use
        offered = offers.get(id(node))
        if offered:
            _, _, user, position, edge = min(offered, key=lambda offer: offer[:2])
            found.homes[id(node)] = (id(user), position)
            found.paths[id(node)] = (*found.paths[id(user)], edge.key)
        if id(node) in found.paths and not isinstance(node, Expr):
            depth = len(found.paths[id(node)])
            for position, edge in enumerate(edges(node)):
                offers.setdefault(id(edge.node), []).append((edge.ref, depth, node, position, edge))
    for node in order:
        if id(node) in found.homes:
            home = found.homes[id(node)][0]
            found.sizes[home] = found.sizes.get(home, 0) + found.sizes.get(id(node), 0) + (inline(node) is None)
    found.users = {
        key: [(user, edge) for user, edge in pairs if not isinstance(user, Expr) and id(user) in found.paths]
        for key, pairs in users(root).items()
    }
    return found


def part(graph: Graph, target: str | None) -> Graph:
    """The graph below one dotted path of it; the graph itself when no path is given."""
    return Graph(f"{graph.name}:{target}", node_at(graph, target)) if target else graph


def node_at(graph: Graph, name: str) -> Node:
    """The node at a dotted path, or an error that names the nearest path there is."""
    try:
        node = find(graph.root, parse_dotted(name))
    except ValueError:
        node = None
    if node is None:
        known = [dotted(path) for path in places(graph.root).paths.values()]
        raise GraphError(
            f"{graph.name} has no node {name!r}",
            hint=did_you_mean(name, known) or "`forge targets` and `forge show` have the paths",
        )
    return node
