"""Whether two graphs describe the same objects.

Where values were written, the names of list items and the order of a mapping's keys make no difference; the type of a
value does, and so does which objects are one and the same. Only what a program can observe counts as sharing: lists,
mappings and calls have an identity of their own, plain values and symbols have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forge.graph.node import Call, Const, Edge, Expr, Map, Seq

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.base.paths import Key
    from forge.graph.node import Node

__all__ = ["equal", "node_of", "same_value"]


def equal(a: Node, b: Node) -> bool:
    """Whether two nodes describe the same objects: structure, values with their types, and sharing."""
    partners: dict[int, Node] = {}
    plain = _Plain()
    stack: list[tuple[Node, Node]] = [(a, b)]
    while stack:
        one, two = (plain(node) for node in stack.pop())
        if not _same_head(one, two):
            return False
        if not _has_identity(one):
            continue
        if id(one) in partners or id(two) in partners:
            if partners.get(id(one)) is not two or partners.get(id(two)) is not one:
                return False
            continue
        partners[id(one)], partners[id(two)] = two, one
        pairs = list(_paired(one, two))
        if len(pairs) != _size(one) or len(pairs) != _size(two):
            return False
        stack += pairs
    return True


def same_value(a: object, b: object) -> bool:
    """Whether two plain values are the same one: 1, 1.0 and True differ, 0.0 and -0.0 differ, nan is nan."""
    if type(a) is not type(b):
        return False
    return repr(a) == repr(b) if isinstance(a, float) else a == b


def node_of(value: object) -> Const | Seq | Map:
    """The nodes of a plain Python value, with no place of their own."""
    if isinstance(value, (list, tuple)):
        return Seq((), tuple(Edge(index, node_of(item)) for index, item in enumerate(value)))
    if isinstance(value, dict):
        return Map((), tuple(Edge(key, node_of(item)) for key, item in value.items()))
    return Const((), value)


class _Plain:
    """Puts the value of an expression in the place of the expression, always the same nodes for the same one."""

    def __init__(self) -> None:
        self._known: dict[int, Node] = {}

    def __call__(self, node: Node) -> Node:
        if not isinstance(node, Expr):
            return node
        return self._known.setdefault(id(node), node_of(node.value))


def _same_head(a: Node, b: Node) -> bool:
    if isinstance(a, Call) and isinstance(b, Call):
        return (a.target, a.mode, len(a.args)) == (b.target, b.mode, len(b.args))
    if isinstance(a, Const) and isinstance(b, Const):
        return same_value(a.value, b.value)
    return type(a) is type(b)


def _has_identity(node: Node) -> bool:
    return isinstance(node, (Seq, Map)) or (isinstance(node, Call) and node.mode != "symbol")


def _size(node: Node) -> int:
    return len(node.args) + len(node.kwargs) if isinstance(node, Call) else len(_items(node))


def _items(node: Node) -> tuple[Edge, ...]:
    return node.items if isinstance(node, (Seq, Map)) else ()


def _paired(a: Node, b: Node) -> Iterator[tuple[Node, Node]]:
    if isinstance(a, Call) and isinstance(b, Call):
        yield from ((one.node, two.node) for one, two in zip(a.args, b.args, strict=True))
        yield from _by_key(a.kwargs, b.kwargs)
    elif isinstance(a, Seq):
        yield from ((one.node, two.node) for one, two in zip(_items(a), _items(b)))  # noqa: B905 - equal() counts
    else:
        yield from _by_key(_items(a), _items(b))


def _by_key(a: tuple[Edge, ...], b: tuple[Edge, ...]) -> Iterator[tuple[Node, Node]]:
    others = {_exact(edge.key): edge.node for edge in b}
    yield from ((edge.node, others[_exact(edge.key)]) for edge in a if _exact(edge.key) in others)


def _exact(key: Key) -> tuple[type, str]:
    return type(key), repr(key)
