"""Which objects of a list are alike, so that a picture draws one of them for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.graph.node import Call, Const, Expr, Missing, Seq
from forge.graph.walk import fold

if TYPE_CHECKING:
    from collections.abc import Hashable

    from forge.graph.node import Node
    from forge.render.place import Places

__all__ = ["grouped", "ranges", "shapes"]

_LEAST: Final = 3


def shapes(places: Places) -> dict[int, int]:
    """A number for each node by ``id``: equal for nodes that differ in nothing but plain values.

    A node that others refer to, or that holds one, has a number of its own: it must be drawn itself.
    """
    found: dict[int, int] = {}
    numbers: dict[Hashable, int] = {}

    def shape(node: Node, parts: list[tuple[int, bool]]) -> tuple[int, bool]:
        key, private = _key(node, parts, places)
        number = numbers.setdefault(key if private else ("itself", id(node)), len(numbers))
        found[id(node)] = number
        return number, private and len(places.users.get(id(node), ())) <= 1

    fold(places.root, shape)
    return found


def grouped(node: Node, places: Places, shape: dict[int, int]) -> list[list[int]]:
    """The positions of a node's edges, those of alike objects of a list together."""
    parts = list(places.parts(node))
    if not isinstance(node, Seq) or len(parts) < _LEAST:
        return [[position] for position in range(len(parts))]
    groups: dict[Hashable, list[int]] = {}
    for position, (edge, owned) in enumerate(parts):
        alone = owned and len(places.users.get(id(edge.node), ())) == 1
        alike = alone and isinstance(edge.node, Call) and edge.node.mode != "symbol"
        groups.setdefault(shape[id(edge.node)] if alike else ("alone", position), []).append(position)
    found = [group for group in groups.values() if len(group) >= _LEAST]
    found += [[position] for group in groups.values() if len(group) < _LEAST for position in group]
    return sorted(found)


def ranges(positions: list[int]) -> str:
    """``0-3, 5``: positions as people write them."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _key(node: Node, parts: list[tuple[int, bool]], places: Places) -> tuple[Hashable, bool]:
    """What makes a node look as it does, and whether all that it holds is used by itself alone."""
    if isinstance(node, (Const, Expr, Missing)):
        return "value", True
    look: list[Hashable] = []
    private = True
    for (edge, owned), (number, alone) in zip(places.parts(node), parts, strict=True):
        plain = isinstance(edge.node, (Const, Expr, Missing))
        look.append((type(edge.key), edge.key, "value" if plain else number if owned else ("other", id(edge.node))))
        private = private and (plain or not owned or alone)
    kind = (node.target, node.mode, len(node.args)) if isinstance(node, Call) else type(node)
    return (kind, tuple(look)), private
