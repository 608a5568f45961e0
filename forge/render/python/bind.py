"""Which nodes of a graph become variables of the script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.graph.node import Call, Expr, Map, Seq
from forge.graph.walk import walk

if TYPE_CHECKING:
    from forge.graph.node import Node
    from forge.render.place import Places

__all__ = ["bind", "has_identity"]

_DEEPEST: Final = 5
_WIDEST: Final = 16


def bind(places: Places) -> list[Node]:
    """The nodes that get a variable, parts before their users.

    A node is bound when several others use it, when it is a top-level value of the config, when what it holds would
    fill a screen, or when brackets would nest too deeply.
    """
    root = places.root
    top = {id(edge.node) for edge, _ in places.parts(root)} if isinstance(root, Map) else set()
    bound: list[Node] = []
    sizes: dict[int, tuple[int, int]] = {}  # how deep and how wide the source of a node is where it stands
    for node in walk(root):
        if id(node) not in places.paths:
            continue
        inner = [sizes[id(edge.node)] for edge, _ in places.parts(node)]
        depth = 1 + max((size[0] for size in inner), default=0)
        width = 1 + sum(size[1] for size in inner)
        wanted = node is not root and has_identity(node) and (_is_shared(places, node) or id(node) in top)
        if wanted or (node is not root and isinstance(node, Call) and width > _WIDEST) or depth > _DEEPEST:
            if node is not root:
                bound.append(node)
            depth, width = 0, 1
        sizes[id(node)] = depth, width
    return bound


def has_identity(node: Node) -> bool:
    """Whether it matters to the program that two uses of a node are one object."""
    if isinstance(node, Expr):
        return isinstance(node.value, (list, dict))
    return isinstance(node, (Seq, Map)) or (isinstance(node, Call) and node.mode != "symbol")


def _is_shared(places: Places, node: Node) -> bool:
    return len(places.users.get(id(node), ())) > 1
