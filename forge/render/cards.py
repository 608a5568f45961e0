"""What a picture of a graph shows: a card for each object, rows for its values, and which row leads to which card.

Plain data stays inside the card of the object that holds it. Objects of a list that are alike (the layers of a model)
share one card that stands for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from forge.base.paths import dotted
from forge.graph.node import Call, Const, Edge, Expr, Map, Missing, Seq
from forge.graph.walk import fold
from forge.render.label import elided, inline, key_text, leaf, printable, tag
from forge.render.place import node_at, part, places

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.graph.node import Graph, Node
    from forge.render.place import Places

__all__ = ["Card", "Mark", "Picture", "Row", "picture"]

Mark: TypeAlias = Literal["added", "removed", "changed"]
"""What a comparison says of a value."""

_ALIKE: Final = 3  # so many equal objects of a list share a card
_DEEPEST: Final = 4  # levels of plain data inside a card
_MOST_VALUES: Final = 24
_VALUE_WIDTH: Final = 40


@dataclass(slots=True)
class Row:
    """A line of a card: key and value, or key and the card it leads to."""

    key: str
    text: str
    level: int = 0
    target: str = ""
    missing: bool = False
    mark: Mark | None = None
    origin: Origin | None = None


@dataclass(slots=True)
class Card:
    """One object of the picture, or several that are alike."""

    id: str
    nodes: tuple[Node, ...]
    name: str
    title: str
    tag: str = ""
    group: str = ""
    users: int = 0
    mark: Mark | None = None
    rows: list[Row] = field(default_factory=list)

    @property
    def node(self) -> Node:
        """The object, or the first of those that are alike."""
        return self.nodes[0]


@dataclass(slots=True)
class Picture:
    """All cards, in the order of the config, and the groups (top-level keys) they belong to."""

    name: str
    cards: list[Card]

    @property
    def groups(self) -> dict[str, list[Card]]:
        """The cards of each group; a card of no group is left out."""
        found: dict[str, list[Card]] = {}
        for card in self.cards:
            if card.group:
                found.setdefault(card.group, []).append(card)
        return found


class _Stack(NamedTuple):
    """A node and those that are like it, part by part."""

    nodes: tuple[Node, ...]
    depth: int


def picture(
    graph: Graph,
    *,
    target: str | None = None,
    depth: int | None = None,
    focus: str | None = None,
    marks: Mapping[Path, Mark] | None = None,
) -> Picture:
    """The cards of a graph, of the part below ``target``, or of one node (``focus``), its users and its parts."""
    shown = part(graph, target)
    drawing = _Drawing(places(shown.root), marks or {}, depth)
    drawing.collect(printable(shown.name))
    cards = drawing.cards
    if focus:
        cards = _near(cards, drawing.card_of(node_at(shown, focus)))
    kept = {card.id for card in cards}
    for card in cards:
        for row in card.rows:
            if row.target not in kept:
                row.target = ""
    return Picture(printable(shown.name), cards)


def _near(cards: list[Card], center: str) -> list[Card]:
    """A card, those that lead to it and those it leads to."""
    middle = next(card for card in cards if card.id == center)
    parts = {row.target for row in middle.rows}
    return [card for card in cards if card is middle or card.id in parts or any(row.target == center for row in card.rows)]


class _Drawing:
    def __init__(self, found: Places, marks: Mapping[Path, Mark], depth: int | None) -> None:
        self.places = found
        self.marks = marks
        self.depth = depth
        self.cards: list[Card] = []
        self.stacks: dict[int, _Stack] = {id(found.root): _Stack((found.root,), 0)}
        self.ids: dict[int, str] = {id(found.root): "c0"}
        self.hidden: set[str] = set()
        self.shapes = self._shapes()

    # ---- which nodes have a card

    def _is_card(self, node: Node) -> bool:
        if inline(node) is not None:
            return False
        if isinstance(node, Call) or node is self.places.root:
            return True
        home = self.places.homes.get(id(node))
        on_top = home is not None and home[0] == id(self.places.root) and isinstance(self.places.root, Map)
        return self._users(node) > 1 or (on_top and (self._refers(node) or not self._only_objects(node)))

    def _users(self, node: Node) -> int:
        return len(self.places.users.get(id(node), ()))

    def _refers(self, node: Node) -> bool:
        return self._users(node) > 1

    def _only_objects(self, node: Node) -> bool:
        return all(isinstance(edge.node, Call) and edge.node.mode != "symbol" for edge, _ in self.places.parts(node))

    def _shapes(self) -> dict[int, Hashable]:
        """A number for each node: equal for nodes that differ in plain values only and that nothing else refers to."""
        shapes: dict[int, Hashable] = {}
        numbers: dict[Hashable, int] = {}

        def shape(node: Node, inner: list[tuple[int, bool]]) -> tuple[int, bool]:
            """The number, and whether the node and all its parts have one user each."""
            parts: list[Hashable] = []
            closed = True
            if not isinstance(node, Expr) and id(node) in self.places.paths:
                for (edge, owned), (number, alone) in zip(self.places.parts(node), inner, strict=True):
                    plain = isinstance(edge.node, (Const, Expr, Missing))
                    parts.append((edge.key, "value" if plain else number if owned else ("shared", id(edge.node))))
                    closed = closed and (plain or not owned or (alone and self._users(edge.node) == 1))
            kind = (node.target, node.mode, len(node.args)) if isinstance(node, Call) else type(node).__name__
            key = (kind, tuple(parts)) if closed else id(node)
            found = numbers.setdefault(key, len(numbers))
            shapes[id(node)] = found
            return found, closed

        fold(self.places.root, shape)
        return shapes

    # ---- cards

    def collect(self, name: str) -> None:
        """Make the cards, each before those that its rows lead to; no recursion, a config may be deep."""
        pending = [self.places.root]
        while pending:
            node = pending.pop()
            stack = self.stacks[id(node)]
            card = self._card(node, stack, name)
            found: list[Node] = []
            card.rows = self._limited(list(self._rows(stack, found)))
            if node is not self.places.root or isinstance(node, Call) or self._root_is_worth_a_card(card):
                self.cards.append(card)
            pending += reversed(found)

    def _root_is_worth_a_card(self, card: Card) -> bool:
        card.rows = [row for row in card.rows if not row.target]
        return bool(card.rows)

    def _card(self, node: Node, stack: _Stack, name: str) -> Card:
        path = self.places.paths[id(node)]
        title = leaf(node.target) if isinstance(node, Call) else name if not path else key_text(path[-1])
        users = sum(1 for user, edge in self.places.users.get(id(node), ()) if edge.ref or not self._is_frame(user))
        return Card(
            id=self.ids[id(node)],
            nodes=stack.nodes,
            name=elided(printable(dotted(path)), _VALUE_WIDTH) if path else "",
            title=title,
            tag=tag(node),
            group=self._group(path),
            users=users,
            mark=self.marks.get(node.path),
        )

    def _is_frame(self, user: Node) -> bool:
        """Whether a mapping only gives its parts their place in the config, rather than using them."""
        return user is self.places.root or (isinstance(user, Map) and not self._is_card(user))

    def _group(self, path: Path) -> str:
        return key_text(path[0]) if path and isinstance(self.places.root, Map) else ""

    def card_of(self, node: Node) -> str:
        """The card that shows a node: its own, or that of the object that holds it."""
        holders = {id(item): node for node in self.places.paths and self._holders() for item in ()}
        del holders
        current = id(node)
        while current not in self.ids or self.ids[current] in self.hidden:
            current = self.places.homes[current][0]
        return self.ids[current]

    # ---- rows

    def _rows(self, stack: _Stack, found: list[Node]) -> Iterator[Row]:
        raise NotImplementedError

    def _limited(self, rows: list[Row]) -> list[Row]:
        raise NotImplementedError
