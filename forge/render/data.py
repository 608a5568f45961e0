"""A graph as YAML, which forge and Hydra read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forge.base.errors import GraphError
from forge.base.paths import dotted
from forge.base.secrets import MASK, Secret
from forge.graph.lower import SPECIAL_KEYS
from forge.graph.node import Call, Const, Expr, Missing, Seq
from forge.graph.walk import edges, walk
from forge.render.place import places

if TYPE_CHECKING:
    from forge.graph.node import Edge, Graph, Node
    from forge.render.place import Places

__all__ = ["to_yaml"]


def to_yaml(graph: Graph) -> str:
    """The graph as a config: values in place, a shared object once and ``${its.path}`` for its other users."""
    import yaml  # only this form needs it

    written = _Written(places(graph.root))
    for node in walk(graph.root):
        written.add(node)
    return yaml.safe_dump(written.whole(graph.root), sort_keys=False, allow_unicode=True, width=120)


class _Written:
    """Config data of each node, made children first."""

    def __init__(self, found: Places) -> None:
        self.places = found
        self.data: dict[int, Any] = {}
        self.raw: set[int] = set()  # mappings whose keys would be taken for special ones when read again

    def add(self, node: Node) -> None:
        if isinstance(node, (Const, Expr)):
            self.data[id(node)] = _config_value(node.value)
        elif isinstance(node, Missing):
            self.data[id(node)] = "???"
        elif isinstance(node, Call):
            self.data[id(node)] = self._call(node)
        else:
            keys = [edge.key for edge in node.items]
            plain = isinstance(node, Seq) and keys == list(range(len(keys)))
            named = {edge.key: self._edge(edge, own=own) for edge, own in self.places.parts(node)}
            if any(id(edge.node) in self.raw for edge in node.items) or set(keys) & set(SPECIAL_KEYS):
                self.raw.add(id(node))
            head = {"_list_": True} if isinstance(node, Seq) and not plain else {}
            self.data[id(node)] = list(named.values()) if plain else {**head, **named}

    def _call(self, node: Call) -> dict[Any, Any]:
        parts = [(edge, self._edge(edge, own=own)) for edge, own in self.places.parts(node)]
        data: dict[Any, Any] = {"_symbol_" if node.mode == "symbol" else "_target_": node.target}
        if node.mode == "partial":
            data["_partial_"] = True
        if any(id(edge.node) in self.raw for edge in edges(node)):
            data["_recursive_"] = False
        if node.args:
            data["_args_"] = [value for _, value in parts[: len(node.args)]]
        return {**data, **{edge.key: value for edge, value in parts[len(node.args) :]}}

    def _edge(self, edge: Edge, *, own: bool) -> Any:
        """What stands at an edge: the node's data, or the name of the place it belongs to."""
        if own or id(edge.node) not in self.places.paths or isinstance(edge.node, (Const, Expr, Missing)):
            return self.data[id(edge.node)]
        path = self.places.paths[id(edge.node)]
        name = dotted(path)
        if not path or any(character in name for character in "'\"\\:${} "):
            raise GraphError(f"{name or 'the root'!r} is shared and cannot be named in a reference")
        return "${" + name + "}"

    def whole(self, root: Node) -> Any:
        if id(root) in self.raw:
            raise GraphError("a mapping outside of any object has a key that would be read as a special one")
        return self.data[id(root)]


def _config_value(value: object) -> Any:
    """A plain value as it must be written so that reading gives it back."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        return value.replace("${", "\\${")
    if isinstance(value, dict):
        return {key: _config_value(item) for key, item in value.items()}
    return [_config_value(item) for item in value] if isinstance(value, (list, tuple)) else value
