"""A graph as JSON that keeps every node, origin and shared object: what a run is built from, and what programs read."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from forge.base.errors import GraphError
from forge.base.origin import Origin
from forge.base.secrets import MASK, Secret
from forge.graph.node import Call, Const, Edge, Expr, Graph, Map, Missing, Seq
from forge.graph.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.graph.node import Node

__all__ = ["VERSION", "from_json", "to_json"]

VERSION: Final = 1
"""The version of the JSON form; a reader refuses one it does not know."""

_LONGEST_INT: Final = 1024


def to_json(graph: Graph) -> str:
    """All nodes of the graph, children first, each with its path, origin and edges; `from_json` reads it back."""
    numbers: dict[int, int] = {}
    origins: dict[Origin, int] = {}

    def place(origin: Origin | None) -> int | None:
        return None if origin is None else origins.setdefault(origin, len(origins))

    nodes: list[dict[str, Any]] = []
    for node in walk(graph.root):
        numbers[id(node)] = len(nodes)
        nodes.append(_node_data(node, numbers, place))
    return json.dumps(
        {
            "forge_graph": VERSION,
            "name": graph.name,
            "root": numbers[id(graph.root)],
            "nodes": nodes,
            "origins": [list(origin) for origin in origins],
        },
        indent=1,
        allow_nan=False,
    )


def _node_data(node: Node, numbers: dict[int, int], place: Callable[[Origin | None], int | None]) -> dict[str, Any]:
    def links(found: tuple[Edge, ...]) -> list[list[Any]]:
        return [[_packed(edge.key), numbers[id(edge.node)], place(edge.origin), edge.ref] for edge in found]

    data: dict[str, Any] = {
        "kind": type(node).__name__.lower(),
        "name": node.name,
        "path": [_packed(key) for key in node.path],
        "origin": place(node.origin),
    }
    if isinstance(node, Const):
        data["value"] = _packed(node.value)
    elif isinstance(node, Expr):
        data |= {"text": node.text, "value": _packed(node.value), "deps": links(node.deps)}
    elif isinstance(node, Call):
        data |= {"target": node.target, "mode": node.mode, "target_origin": place(node.target_origin)}
        data |= {"args": links(node.args), "kwargs": links(node.kwargs)}
    elif isinstance(node, (Map, Seq)):
        data["items"] = links(node.items)
    return data


def from_json(text: str) -> Graph:
    """The graph that `to_json` wrote; GraphError for anything else. Masked secrets stay masks."""
    try:
        data = json.loads(text)
        if data["forge_graph"] != VERSION:
            raise GraphError(f"this graph has version {data['forge_graph']!r}, known is {VERSION}")
        origins = [Origin(*_origin_fields(one)) for one in data["origins"]]
        nodes: list[Node] = []
        for one in data["nodes"]:
            nodes.append(_node(one, nodes, origins))
        return Graph(_text(data["name"]), nodes[_index(data["root"], len(nodes))])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise GraphError(f"this is no graph: {type(error).__name__}: {error}") from error


def _node(data: dict[str, Any], nodes: list[Node], origins: list[Origin]) -> Node:
    """One node; its edges lead to nodes read before it, so that there can be no cycle."""

    def place(number: int | None) -> Origin | None:
        return None if number is None else origins[_index(number, len(origins))]

    def links(name: str) -> tuple[Edge, ...]:
        return tuple(
            Edge(_unpacked(key), nodes[_index(number, len(nodes))], place(origin), bool(ref))
            for key, number, origin, ref in data[name]
        )

    path = tuple(_unpacked(key) for key in data["path"])
    origin = place(data["origin"])
    kind = data["kind"]
    if kind == "const":
        return Const(path, _unpacked(data["value"]), origin=origin)
    if kind == "expr":
        return Expr(path, _text(data["text"]), _unpacked(data["value"]), links("deps"), origin=origin)
    if kind == "call":
        if data["mode"] not in ("call", "partial", "symbol"):
            raise ValueError(data["mode"])
        target_origin = place(data["target_origin"])
        target = _text(data["target"])
        return Call(
            path, target, links("args"), links("kwargs"), data["mode"], origin=origin, target_origin=target_origin
        )
    if kind == "missing":
        return Missing(path, origin=origin)
    if kind == "map":
        return Map(path, links("items"), origin=origin)
    if kind == "seq":
        return Seq(path, links("items"), origin=origin)
    raise ValueError(kind)


def _packed(value: object) -> Any:
    """A plain value as JSON has it; what JSON cannot say is wrapped in an object with one ``$`` key."""
    if isinstance(value, Secret):
        return {"$secret": MASK}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:
        return {"$int": hex(value)}  # Python refuses to write or read thousands of decimal digits
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, dict):
        return {"$map": [[_packed(key), _packed(item)] for key, item in value.items()]}
    return [_packed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _unpacked(data: Any) -> Any:
    if isinstance(data, list):
        return [_unpacked(item) for item in data]
    if not isinstance(data, dict):
        return data
    ((kind, held),) = data.items()
    if kind == "$map":
        return {_unpacked(key): _unpacked(item) for key, item in held}
    if kind == "$secret":
        return Secret(MASK)
    if kind == "$int":
        return int(held, 16)
    return bytes.fromhex(held) if kind == "$bytes" else {"$float": float}[kind](held)


def _index(number: object, count: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < count:
        raise ValueError(f"{number!r} is no number below {count}")
    return number


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _origin_fields(data: list[Any]) -> tuple[Any, ...]:
    file, line, column, layer, text = data
    return _text(file), int(line), int(column), _text(layer), _text(text)
