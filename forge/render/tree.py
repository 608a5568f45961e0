"""A graph as a tree in the terminal: plain values folded into a few lines, shared objects drawn once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from forge.graph.node import Call, Const, Expr, Missing, Seq
from forge.render.label import inline, key_text, leaf, printable, tag
from forge.render.place import node_at, part, places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.graph.node import Edge, Graph, Node
    from forge.render.place import Places

__all__ = ["tree"]

_STYLES: Final = {
    "key": "36",
    "type": "1",
    "value": "",
    "ref": "35",
    "mark": "32",
    "missing": "31;1",
    "line": "2",
    "dim": "2",
}
_SEPARATOR: Final = " · "
_VALUE_WIDTH: Final = 48
_NARROWEST: Final = 24


class _Text(NamedTuple):
    """A piece of a line: its characters and how they are coloured."""

    text: str
    style: str = "value"


class _Line(NamedTuple):
    """What hangs where: the bars before the line, and its pieces."""

    lead: str
    pieces: tuple[_Text, ...]


def tree(
    graph: Graph,
    *,
    target: str | None = None,
    depth: int | None = None,
    focus: str | None = None,
    color: bool = False,
    width: int = 100,
) -> str:
    """The graph as text, a line or more for each object.

    ``target`` starts at one part, ``depth`` folds what lies deeper, ``focus`` shows one node, its parts and its users.
    """
    shown = part(graph, target)
    drawing = _Drawing(places(shown.root), width)
    lines = list(_focused(drawing, shown, focus) if focus else drawing.lines(_title(shown), shown.root, depth))
    return "\n".join(_painted(line, color=color) for line in lines)


def _title(graph: Graph) -> tuple[_Text, ...]:
    name = _Text(printable(graph.name) or "graph", "key")
    return (name, *_kind(graph.root)) if isinstance(graph.root, Call) else (name,)


def _focused(drawing: _Drawing, graph: Graph, focus: str) -> Iterator[_Line]:
    """One node with its parts one level down, and a line for each of its users."""
    node = node_at(graph, focus)
    yield from drawing.lines((_Text(printable(focus), "key"), *_kind(node)), node, 1)
    for user, edge in drawing.places.users.get(id(node), ()):
        if id(user) != id(graph.root):
            where = f"{drawing.places.name(user)}.{key_text(edge.key)}"
            yield _Line("", (_Text("← ", "ref"), _Text(printable(where), "ref"), *_kind(user)))


class _Drawing:
    def __init__(self, places: Places, width: int) -> None:
        self.places = places
        self.width = width

    def lines(self, title: tuple[_Text, ...], root: Node, depth: int | None) -> Iterator[_Line]:
        """The lines of a node and everything that belongs below it, without recursion."""
        rows, branches = self._contents(root)
        yield _Line("", title)
        yield from (_Line("│  " if branches else "   ", row) for row in self._folded(rows, 3))
        stack = [("", iter(branches), len(branches), 1)]
        while stack:
            lead, remaining, left, level = stack.pop()
            edge = next(remaining, None)
            if edge is None:
                continue
            stack.append((lead, remaining, left - 1, level))
            below = lead + ("│  " if left > 1 else "   ")
            rows, branches = self._contents(edge.node)
            folded = depth is not None and level >= depth
            yield from self._entry(lead + ("├─ " if left > 1 else "└─ "), below, edge, rows, branches, folded=folded)
            if branches and not folded:
                stack.append((below, iter(branches), len(branches), level + 1))

    def _entry(
        self, lead: str, below: str, edge: Edge, rows: list[tuple[_Text, ...]], branches: list[Edge], *, folded: bool
    ) -> Iterator[_Line]:
        """The line of one node, with its plain values behind it when they fit, otherwise below it."""
        head = [_Text(key_text(edge.key), "key"), *_kind(edge.node), *self._users(edge.node)]
        if folded and branches:
            head.append(_Text(f"  … {self.places.sizes[id(edge.node)]} more", "dim"))
        joined = _joined(rows)
        if rows and len(lead) + _length(head) + 2 + _length(joined) <= self.width:
            yield _Line(lead, (*head, _Text("  "), *joined))
            return
        yield _Line(lead, tuple(head))
        bar = below + ("│  " if branches and not folded else "   ")
        yield from (_Line(bar, row) for row in self._folded(rows, len(bar)))

    def _contents(self, node: Node) -> tuple[list[tuple[_Text, ...]], list[Edge]]:
        """The plain values and references of a node as short texts, and the nodes that get a line of their own."""
        rows: list[tuple[_Text, ...]] = []
        branches: list[Edge] = []
        for edge, owned in self.places.parts(node):
            name = _Text(key_text(edge.key), "key")
            text = inline(edge.node, _VALUE_WIDTH)
            if text is not None and (owned or isinstance(edge.node, (Const, Expr, Missing))):
                style = "missing" if isinstance(edge.node, Missing) else "value"
                rows.append((name, _Text(" "), _Text(text, style)))
            elif owned:
                branches.append(edge)
            else:
                rows.append((name, _Text(f" → {printable(self.places.name(edge.node))}", "ref")))
        return rows, branches

    def _users(self, node: Node) -> tuple[_Text, ...]:
        count = self.places.use_count(node)
        return (_Text(f"  {count} users", "mark"),) if count > 1 else ()

    def _folded(self, rows: list[tuple[_Text, ...]], indent: int) -> Iterator[tuple[_Text, ...]]:
        """As many values a line as fit."""
        room = max(self.width - indent, _NARROWEST)
        line: list[_Text] = []
        for row in rows:
            if line and _length(line) + len(_SEPARATOR) + _length(row) > room:
                yield tuple(line)
                line = []
            line += [*([_Text(_SEPARATOR, "dim")] if line else []), *row]
        if line:
            yield tuple(line)


def _kind(node: Node) -> tuple[_Text, ...]:
    """The class of a call, or how many items a list has."""
    if isinstance(node, Call):
        marks = (_Text(f" {tag(node)}", "dim"),) if tag(node) else ()
        return (_Text("  "), _Text(leaf(node.target), "type"), *marks)
    if isinstance(node, Seq) and node.items:
        return (_Text(f"  [{len(node.items)}]", "dim"),)
    return ()


def _joined(rows: list[tuple[_Text, ...]]) -> list[_Text]:
    pieces: list[_Text] = []
    for row in rows:
        pieces += [*([_Text(_SEPARATOR, "dim")] if pieces else []), *row]
    return pieces


def _length(pieces: list[_Text] | tuple[_Text, ...]) -> int:
    return sum(len(piece.text) for piece in pieces)


def _painted(line: _Line, *, color: bool) -> str:
    if not color:
        return (line.lead + "".join(piece.text for piece in line.pieces)).rstrip()
    return _paint(line.lead, "line") + "".join(_paint(piece.text, piece.style) for piece in line.pieces)


def _paint(text: str, style: str) -> str:
    code = _STYLES[style]
    return f"\x1b[{code}m{text}\x1b[0m" if code and text else text
