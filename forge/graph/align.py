"""Two graphs laid side by side: each place of the later one under the name it has in the earlier one.

A node that several places share lives at one of them, its home; the other places refer to it. Which one that is does
not depend on the order of keys, and a later graph follows the choice of the earlier one, so that equal graphs have
equal tables even when a reference was turned round.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, TypeAlias

from forge.graph.node import Call, Const, Expr, Seq
from forge.graph.walk import edges, fold, walk

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.graph.node import Edge, Node

__all__ = ["Place", "PlaceTable", "Slot", "contents", "head", "named", "place_table"]

Place: TypeAlias = "tuple[str, ...]"  # keys told apart by type: 1, True and "1" are three keys

_POSITION = "*"  # begins the key of a positional argument; the repr of no key does
_OUTSIDE = "${"  # begins the place of a node that the root reaches through references only


@dataclass(slots=True)
class Slot:
    """One place of a graph: the node there, whether a reference leads to it, who holds it and where it lives."""

    place: Place
    path: Path
    node: Node
    ref: bool
    origin: Origin | None
    owner: Place = ()
    home: Place = ()

    @property
    def shared(self) -> bool:
        """Whether the node lives elsewhere."""
        return self.home != self.place

    @property
    def outside(self) -> bool:
        """Whether this is the home of a node outside of the root, seen through references only."""
        return self.place[:1] == (_OUTSIDE,)


PlaceTable: TypeAlias = dict[Place, Slot]
"""Every place of a graph, holders before what they hold."""


def place_table(
    root: Node,
    earlier: PlaceTable | None = None,
    numbers: Mapping[int, int] | None = None,
    moved: Mapping[Place, Place] | None = None,
) -> PlaceTable:
    """The places of a graph; a later graph takes over the homes and the list positions of the earlier one.

    ``numbers`` are the `contents` by which list items are aligned, ``moved`` gives moved objects their earlier place.
    """
    table: PlaceTable = {}
    arrivals = {id(root): [Slot((), root.path, root, ref=False, origin=root.origin)]}
    for node in reversed(list(walk(root))):
        slots = arrivals.pop(id(node), [])
        if not slots:  # only an expression reads this node
            continue
        home = _home(node, slots, earlier)
        for slot in slots:
            slot.home = home
            table[slot.place] = slot
        table.setdefault(home, Slot(home, node.path, node, ref=True, origin=node.origin, home=home))
        if isinstance(node, Expr):  # what an expression read shows in its value
            continue
        old = earlier.get(home) if earlier is not None else None
        keys = _keys(node, old.node if old is not None else None, numbers or {})
        for key, edge in zip(keys, edges(node), strict=True):
            place = (*home, key)
            place = (moved or {}).get(place, place)
            arrivals.setdefault(id(edge.node), []).append(_arrival(place, home, node, edge, key))
    return table


def _arrival(place: Place, owner: Place, holder: Node, edge: Edge, key: str) -> Slot:
    steps = ("_args_", edge.key) if key.startswith(_POSITION) else (edge.key,)
    path = holder.path + steps if edge.ref else edge.node.path
    return Slot(place, path, edge.node, edge.ref, edge.origin or edge.node.origin, owner)


def _home(node: Node, slots: list[Slot], earlier: PlaceTable | None) -> Place:
    if all(slot.ref for slot in slots):
        return (_OUTSIDE, node.name)
    own = min(slots, key=lambda slot: (slot.ref, len(slot.place), slot.place)).place
    old = earlier.get(own) if earlier is not None else None
    turned = old is not None and any(slot.place == old.home for slot in slots)
    return old.home if old is not None and turned else own


def _keys(node: Node, old: Node | None, numbers: Mapping[int, int]) -> list[str]:
    """The keys of a node's edges; positions of a list are those of the earlier list with the same items."""
    if isinstance(node, Call):
        return [f"{_POSITION}{index}" for index in range(len(node.args))] + [repr(edge.key) for edge in node.kwargs]
    if isinstance(node, Seq) and isinstance(old, Seq):
        by_name = named(node) and named(old) and numbers.get(id(node)) != numbers.get(id(old))
        return [repr(edge.key) for edge in node.items] if by_name else _aligned(old, node, numbers)
    return [repr(edge.key) for edge in edges(node)]


def _aligned(old: Seq, new: Seq, numbers: Mapping[int, int]) -> list[str]:
    if len(old.items) == len(new.items):
        return [repr(edge.key) for edge in old.items]
    keys = [f"+{index}" for index in range(len(new.items))]
    ours, theirs = ([numbers.get(id(edge.node)) for edge in seq.items] for seq in (old, new))
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if tag in ("equal", "replace"):
            for i, j in zip(range(i1, i2), range(j1, j2), strict=False):
                keys[j] = repr(old.items[i].key)
    return keys


def named(node: Seq) -> bool:
    """Whether the items of a list have names."""
    return any(isinstance(edge.key, str) for edge in node.items)


def contents(*roots: Node) -> dict[int, int]:
    """A number for each node, by ``id``: the same number for the same content, sharing aside."""
    numbers: dict[Hashable, int] = {}
    found: dict[int, int] = {}

    def number(node: Node, children: list[int]) -> int:
        parts = [(repr(edge.key), child) for edge, child in zip(edges(node), children, strict=True)]
        ordered = [child for _, child in parts] if isinstance(node, Seq) else sorted(parts)
        found[id(node)] = numbers.setdefault((type(node), head(node), tuple(ordered)), len(numbers))
        return found[id(node)]

    for root in roots:
        fold(root, number)
    return found


def head(node: Node) -> Hashable:
    """What a node is, without what it holds."""
    if isinstance(node, Call):
        return node.target, node.mode
    if isinstance(node, Const):
        return type(node.value), _exact(node.value)
    return (type(node.value), _exact(node.value)) if isinstance(node, Expr) else ()


def _exact(value: object) -> Hashable:
    """The value itself where that is exact: a float's text tells 0.0 from -0.0 and calls nan the same as nan."""
    return repr(value) if isinstance(value, (float, list, dict)) else value
