"""What a picture of a graph shows: a card for each object, rows for its values, and which row leads to which card.

Plain data stays inside the card of the object that holds it. Objects of a list that are alike (the layers of a model)
share one card that stands for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from forge.base.paths import dotted
from forge.graph.node import Call, Map, Missing, Seq
from forge.graph.walk import edges
from forge.render.alike import grouped, ranges, shapes
from forge.render.label import inline, key_text, leaf, printable, tag
from forge.render.place import node_at, part, places

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.graph.node import Edge, Graph, Node
    from forge.render.place import Places

__all__ = ["Card", "Mark", "Picture", "Row", "picture"]

Mark: TypeAlias = Literal["added", "removed", "changed"]
"""What a comparison says of a value."""

_DEEPEST: Final = 4  # levels of plain data inside a card
_MOST_VALUES: Final = 24
_VALUE_WIDTH: Final = 40


@dataclass(slots=True)
class Row:
    """A line of a card: key and value, key and the card it leads to, or the head of the rows below it."""

    key: str
    text: str
    level: int = 0
    target: str = ""
    kind: Literal["value", "missing", "object", "head"] = "value"
    mark: Mark | None = None
    origin: Origin | None = None


@dataclass(slots=True)
class Card:
    """One object of the picture, or several that are alike; then ``name`` has a star where their paths differ."""

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
    """All cards, users before what they use, and the name of the config.

    ``order`` numbers the groups of the whole config, also those that the picture leaves out.
    """

    name: str
    cards: list[Card]
    order: dict[str, int] = field(default_factory=dict)

    @property
    def top(self) -> Card | None:
        """The card of the config itself, with its plain values."""
        return next((card for card in self.cards if not card.name and not isinstance(card.node, Call)), None)

    @property
    def groups(self) -> dict[str, list[Card]]:
        """The cards of each top-level key; a card of the whole config has none."""
        found: dict[str, list[Card]] = {}
        for card in self.cards:
            if card.group:
                found.setdefault(card.group, []).append(card)
        return found


def picture(
    graph: Graph,
    *,
    target: str | None = None,
    depth: int | None = None,
    focus: str | None = None,
    marks: Mapping[Path, Mark] | None = None,
) -> Picture:
    """The cards of a graph, of the part below ``target``, or of one node (``focus``), its users and its parts.

    Cards more than ``depth`` steps from the root are folded into the rows that lead to them.
    """
    shown = part(graph, target)
    dealer = _Dealer(places(shown.root), printable(shown.name), depth, marks or {})
    dealer.deal()
    cards = dealer.near(node_at(shown, focus)) if focus else dealer.cards
    kept = {card.id for card in cards}
    for card in cards:
        for row in card.rows:
            row.target = row.target if row.target in kept else ""
    groups = dict.fromkeys(card.group for card in dealer.cards if card.group)
    return Picture(printable(shown.name), cards, {group: number for number, group in enumerate(groups)})


class _Stack(NamedTuple):
    """A node that gets a card, with those that are like it, and how far it is from the root."""

    nodes: tuple[Node, ...]
    depth: int


class _Dealer:
    def __init__(self, found: Places, name: str, depth: int | None, marks: Mapping[Path, Mark]) -> None:
        self.places = found
        self.name = name
        self.depth = depth
        self.marks = marks
        self.shapes = shapes(found)
        self.cards: list[Card] = []
        self._ids: dict[int, str] = {}

    def deal(self) -> None:
        """Make the cards, one after another; a config may be deeper than Python's recursion."""
        pending = [_Stack((self.places.root,), 0)]
        while pending:
            stack = pending.pop()
            card = self._card(stack.nodes)
            found: list[_Stack] = []
            rows = list(self._rows(stack.nodes, 0, stack.depth, found))
            card.rows = _limited(rows if stack.depth or not isinstance(card.node, Map) else _own(rows))
            if card.rows or isinstance(card.node, Call) or stack.depth:
                self.cards.append(card)
            pending += reversed(found)

    def near(self, node: Node) -> list[Card]:
        """The card that shows a node, those that lead to it and those it leads to."""
        known = {card.id: card for card in self.cards}
        current = id(node)
        while self._ids.get(current) not in known and current in self.places.homes:
            current = self.places.homes[current][0]
        middle = known.get(self._ids.get(current, ""))
        if middle is None:
            return self.cards
        parts = {row.target for row in middle.rows}
        leads = [card for card in self.cards if any(row.target == middle.id for row in card.rows)]
        return [card for card in self.cards if card is middle or card.id in parts or card in leads]

    def _card(self, nodes: tuple[Node, ...]) -> Card:
        node = nodes[0]
        path = self.places.paths[id(node)]
        name = _common_name([self.places.paths[id(each)] for each in nodes])
        if not path and not isinstance(node, Map):
            name = printable(node.name)
        title = leaf(node.target) if isinstance(node, Call) else key_text(path[-1]) if path else self.name
        group = key_text(path[0]) if path and isinstance(self.places.root, Map) else ""
        mark = self.marks.get(node.path)
        return Card(self._id(node), nodes, name, title, tag(node), group, self.places.use_count(node), mark)

    def _id(self, node: Node) -> str:
        return self._ids.setdefault(id(node), f"c{len(self._ids)}")

    def _is_card(self, node: Node) -> bool:
        if inline(node) is not None:
            return False
        if isinstance(node, Call) or len(self.places.users.get(id(node), ())) > 1:
            return True
        on_top = self.places.homes[id(node)][0] == id(self.places.root) and isinstance(self.places.root, Map)
        return on_top and not all(_is_object(edge.node) for edge, _ in self.places.parts(node))

    def _rows(self, nodes: tuple[Node, ...], level: int, depth: int, found: list[_Stack]) -> Iterator[Row]:
        """The rows of a node and of the plain data in it; what gets a card of its own is added to ``found``."""
        parts = [list(self.places.parts(node)) for node in nodes]
        for positions in grouped(nodes[0], self.places, self.shapes):
            edge, owned = parts[0][positions[0]]
            mates = tuple(each[position][0].node for each in parts for position in positions)
            row = self._row(nodes[0], edge, positions, level)
            text = inline(edge.node, _VALUE_WIDTH)
            if text is not None:
                row.text = _spread([inline(mate, _VALUE_WIDTH) or "" for mate in mates])
                row.kind = "missing" if isinstance(edge.node, Missing) else "value"
                yield row
            elif self._is_card(edge.node):
                yield self._leading(row, edge.node, mates, depth, found if owned else None)
            else:
                row.kind = "head"
                row.text = f"{len(list(self.places.parts(edge.node)))} values" if level + 1 == _DEEPEST else ""
                inner = self._rows(mates, level + 1, depth, found)
                yield row
                yield from inner if level + 1 < _DEEPEST else (each for each in list(inner) if each.target)

    def _row(self, user: Node, edge: Edge, positions: list[int], level: int) -> Row:
        key = key_text(edge.key)
        if len(positions) > 1:
            ends = [key_text(user.items[end].key) for end in (positions[0], positions[-1]) if isinstance(user, Seq)]
            key = ranges(positions) if isinstance(edge.key, int) else " … ".join(ends)
        args = isinstance(user, Call) and any(edge is each for each in user.args)
        path = (*user.path, "_args_", edge.key) if args else (*user.path, edge.key)
        return Row(key, "", level, mark=self.marks.get(path), origin=edge.origin)

    def _leading(self, row: Row, node: Node, mates: tuple[Node, ...], depth: int, found: list[_Stack] | None) -> Row:
        """A row that leads to a card; the card is dealt from here when the node belongs here."""
        row.kind = "object"
        row.target = self._id(node)
        row.text = leaf(node.target) if isinstance(node, Call) else _counted(len(edges(node)))
        if found is None:
            return row
        for mate in mates:
            self._ids[id(mate)] = row.target
        if self.depth is not None and depth >= self.depth:
            row.text += f" +{self.places.sizes[id(node)]}" if self.places.sizes.get(id(node)) else ""
        else:
            found.append(_Stack(mates, depth + 1))
        return row


def _common_name(paths: list[Path]) -> str:
    return printable(dotted(tuple(keys[0] if len(set(keys)) == 1 else "*" for keys in zip(*paths, strict=True))))


def _counted(items: int) -> str:
    return "1 item" if items == 1 else f"{items} items"


def _is_object(node: Node) -> bool:
    return isinstance(node, Call) and node.mode != "symbol"


def _own(rows: list[Row]) -> list[Row]:
    """The rows of a whole config that are no group: its groups are drawn as such."""
    return [row for row in rows if not row.level and row.kind in ("value", "missing")]


def _limited(rows: list[Row]) -> list[Row]:
    """All rows that lead somewhere, and not too many of the others."""
    values = [row for row in rows if not row.target]
    if len(values) <= _MOST_VALUES + 1:
        return rows
    dropped = {id(row) for row in values[_MOST_VALUES:]}
    return [*(row for row in rows if id(row) not in dropped), Row("", f"{len(dropped)} more", kind="head")]


def _spread(texts: list[str]) -> str:
    """One value for all, or the first and the last of those that differ."""
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]} … {texts[-1]}"
