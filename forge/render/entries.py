"""What a page says of each node: its values with their origins and source lines, what it uses, and who uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.base.paths import dotted
from forge.base.secrets import MASK, is_secret_name
from forge.graph.node import Call, Expr, Missing, Seq
from forge.graph.walk import walk
from forge.render.excerpts import excerpts, names_secret
from forge.render.label import elided, inline, key_text, leaf, printable
from forge.render.place import places

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.graph.node import Edge, Graph, Node
    from forge.render.cards import Picture

__all__ = ["entries"]

_LONGEST_VALUE: Final = 1_000
_LONGEST_OVERRIDE: Final = 200
_MOST_USERS: Final = 200


def entries(graph: Graph, picture: Picture) -> dict[str, Any]:
    """Plain data for a page: all nodes of the graph, the cards of its picture, and every origin once.

    A node that has no card of its own is shown by the card it lies in.
    """
    writer = _Writer(graph, picture)
    nodes = [writer.node(node) for node in writer.in_order()]
    cards = {
        card.id: {"group": card.group, "nodes": [writer.name(node) for node in card.nodes]} for card in picture.cards
    }
    return {"name": picture.name, "nodes": nodes, "cards": cards, "origins": writer.origins()}


class _Writer:
    def __init__(self, graph: Graph, picture: Picture) -> None:
        self.places = places(graph.root)
        self._cards = {id(node): card.id for card in picture.cards for node in card.nodes}
        self._origins: dict[Origin, int] = {}
        self._secret: set[Origin] = set()

    def in_order(self) -> list[Node]:
        """The nodes that have parts to show, in the order of the config; all others are values of one of these."""
        order: dict[int, tuple[int, ...]] = {id(self.places.root): ()}
        found = [self.places.root]
        for node in reversed(list(walk(self.places.root))):  # users come before what they use
            if id(node) in self.places.homes:
                home, position = self.places.homes[id(node)]
                order[id(node)] = (*order[home], position)
                found += [node] if inline(node) is None else []
        return sorted(found, key=lambda node: order[id(node)])

    def name(self, node: Node) -> str:
        """The path of a node as people read it, the same everywhere in the page."""
        return _shown(self.places.paths[id(node)])

    def node(self, node: Node) -> dict[str, Any]:
        """One node with its rows."""
        path = self.places.paths[id(node)]
        secret = any(map(is_secret_name, path))
        origin = (node.target_origin or node.origin) if isinstance(node, Call) else node.origin
        found = {
            "path": _shown(path),
            "kind": _kind(node),
            "card": self._card(node),
            "origin": self._origin(origin, secret=secret),
            "rows": [self._row(path, edge, owned=owned) for edge, owned in self.places.parts(node)],
            "users": self._users(node, ()),
            "owner": self._owner(node),
        }
        if isinstance(node, Call):
            found |= {"target": elided(printable(node.target), _LONGEST_VALUE), "leaf": leaf(node.target)}
        return found

    def _row(self, holder: Path, edge: Edge, *, owned: bool) -> dict[str, Any]:
        path, node = (*holder, edge.key), edge.node
        text = inline(node, _LONGEST_VALUE)
        secret = any(map(is_secret_name, path)) or (text is not None and MASK in text)
        origin = self._origin(edge.origin or node.origin, secret=secret)
        row: dict[str, Any] = {"key": key_text(edge.key), "path": _shown(path), "origin": origin}
        if text is not None:
            row |= {"text": elided(text, _LONGEST_VALUE), "kind": _kind(node)}
        if id(node) in self.places.paths and (text is None or not owned):
            row["to"] = self.name(node)
            row["owned"] = owned
        if isinstance(node, Expr):
            row["formula"] = elided(printable(node.text), _LONGEST_VALUE)
            row["reads"] = [_shown(self.places.paths.get(id(read.node), read.node.path)) for read in node.deps]
        if text is not None and owned:
            row["users"] = self._users(node, path)
        return row

    def _users(self, node: Node, but: Path) -> list[str]:
        """The paths at which others use a node."""
        found = (
            (*self.places.paths[id(user)], edge.key)
            for user, edge in self.places.users.get(id(node), ())[:_MOST_USERS]
            if edge.ref or self.places.homes.get(id(node), (0, 0))[0] != id(user)
        )
        return [_shown(path) for path in found if path != but]

    def _owner(self, node: Node) -> str:
        """The node in whose place it lies; empty below the root, which holds everything."""
        home = self.places.homes.get(id(node), (id(self.places.root), 0))[0]
        return _shown(self.places.paths[home])

    def _card(self, node: Node) -> str | None:
        """The card that shows a node: its own, or that of the nearest one it lies in."""
        current = id(node)
        while current not in self._cards and current in self.places.homes:
            current = self.places.homes[current][0]
        return self._cards.get(current)

    def _origin(self, origin: Origin | None, *, secret: bool) -> int | None:
        if origin is None:
            return None
        if secret:
            self._secret.add(origin)
        return self._origins.setdefault(origin, len(self._origins))

    def origins(self) -> list[dict[str, str]]:
        """Each origin with its line of the file, where that may be shown."""
        lines = excerpts(self._origins, self._secret)
        return [
            {
                "place": elided(printable(str(self._safe(origin))), _LONGEST_OVERRIDE),
                "layer": origin.layer,
                "line": lines.get((origin.file, origin.line), ""),
            }
            for origin in self._origins
        ]

    def _safe(self, origin: Origin) -> Origin:
        """Without the text of an override that could hold a secret."""
        unsafe = origin in self._secret and MASK not in origin.text
        return origin._replace(text="") if unsafe or names_secret(origin.text) else origin


def _shown(path: Iterable[Any]) -> str:
    return printable(dotted(tuple(path)))


def _kind(node: Node) -> str:
    if isinstance(node, Call):
        return {"call": "object", "partial": "partial", "symbol": "symbol"}[node.mode]
    if isinstance(node, Missing):
        return "missing"
    return type(node).__name__.lower() if not isinstance(node, Seq) else "list"
