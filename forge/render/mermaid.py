"""A graph as a Mermaid flowchart, for pages that draw Mermaid themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from forge.base.errors import GraphError
from forge.graph.node import Call
from forge.render.label import elided, inline, key_text, leaf, printable, tag
from forge.render.place import node_at, places

if TYPE_CHECKING:
    from forge.graph.node import Graph, Node
    from forge.render.place import Places

__all__ = ["mermaid"]

_LONGEST_ROW: Final = 60
_MOST_ROWS: Final = 12
_ENTITIES: Final = {ord(letter): f"#{ord(letter)};" for letter in "\"#;&<>`\\{}[]()|%'"}


def mermaid(graph: Graph, *, depth: int | None = None, focus: str | None = None) -> str:
    """The graph as a flowchart: a box for each object, an arrow to each object it uses."""
    root = node_at(graph, focus) if focus else graph.root
    found = places(root)
    if id(root) not in found.paths:
        raise GraphError(f"{graph.name} is empty")
    boxes = _boxes(root, found, depth)
    names = {key: f"n{number}" for number, key in enumerate(boxes)}
    lines = ["flowchart LR"]
    for key, node in boxes.items():
        lines.append(f'  {names[key]}["{_text(node, found, graph.name)}"]')
    for key, node in boxes.items():
        for edge, own in found.parts(node):
            if id(edge.node) in names:
                arrow = "-->" if own else "-.->"
                lines.append(f'  {names[key]} {arrow}|"{_quoted(key_text(edge.key))}"| {names[id(edge.node)]}')
    return "\n".join(lines) + "\n"


def _boxes(root: Node, found: Places, depth: int | None) -> dict[int, Node]:
    """The nodes that get a box: all that are not a row of another one, down to the depth."""
    boxes = {id(root): root}
    pending = [(root, 0)]
    while pending:
        node, level = pending.pop()
        for edge, own in found.parts(node):
            if own and inline(edge.node) is None and (depth is None or level < depth):
                boxes[id(edge.node)] = edge.node
                pending.append((edge.node, level + 1))
    return boxes


def _text(node: Node, found: Places, name: str) -> str:
    """A box: its path and class, and a row for each plain value."""
    title = found.name(node) or name
    kind = f"{leaf(node.target)} {tag(node)}".strip() if isinstance(node, Call) else ""
    rows = [
        f"{key_text(edge.key)} {text}"
        for edge, own in found.parts(node)
        if own and (text := inline(edge.node, _LONGEST_ROW)) is not None
    ]
    if len(rows) > _MOST_ROWS:
        rows = [*rows[:_MOST_ROWS], f"… {len(rows) - _MOST_ROWS} more"]
    lines = [printable(title), *([kind] if kind else []), *rows]
    return "<br/>".join(_quoted(elided(line, _LONGEST_ROW)) for line in lines)


def _quoted(text: str) -> str:
    """The text with everything that Mermaid or HTML would read as its own written as an entity."""
    return printable(text).translate(_ENTITIES)
