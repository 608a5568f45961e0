"""What plain Hydra would make of the same config in another way than forge does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from forge.base.paths import dotted
from forge.graph.call_check import Finding
from forge.graph.node import Call, Expr
from forge.graph.walk import edges, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.paths import Path
    from forge.compose.composed import Composed
    from forge.graph.node import Graph

__all__ = ["hydra_differences"]

_KEYS: Final = {
    "_list_": "Hydra would pass a mapping with the key _list_, not a list",
    "_symbol_": "Hydra does not know _symbol_ and would pass a mapping; its way is hydra.utils.get_object",
    "_new_": "Hydra would pass _new_ as an argument; it makes a fresh copy for each reference anyway",
}


def hydra_differences(composed: Composed, graph: Graph) -> list[Finding]:
    """A warning for each shared object, and for each key that only forge knows."""
    return [*_shared(graph), *_special(composed)]


def _shared(graph: Graph) -> Iterator[Finding]:
    """References to objects: one object here, one more for each reference with Hydra."""
    for user in walk(graph.root):
        for edge in () if isinstance(user, Expr) else edges(user):
            node = edge.node
            if edge.ref and isinstance(node, Call) and node.mode != "symbol":
                key = dotted((*user.path, edge.key))
                message = f"this is the object {node.name!r} itself; Hydra would build another one"
                yield Finding(edge.origin, key, message, "", "warning", "hydra-shared")


def _special(composed: Composed) -> Iterator[Finding]:
    stack: list[tuple[Path, Any]] = [((), composed.tree)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            for key in _KEYS.keys() & value.keys():
                origin = composed.origin((*path, key))
                yield Finding(origin, dotted(path), _KEYS[key], "", "warning", f"hydra-{key.strip('_')}")
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        stack.extend(((*path, key), item) for key, item in items)
