"""A graph in Graphviz' language, for those who want to lay it out or restyle it themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from forge.render.cards import picture
from forge.render.label import elided, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from forge.graph.node import Graph
    from forge.render.cards import Card, Row

__all__ = ["dot", "quoted"]

_HEAD: Final = """\
  graph [rankdir=LR, nodesep=0.3, ranksep=0.8, fontname="Helvetica", labeljust=l, style="rounded", color="#c6ccd6"];
  node [shape=plain, fontname="Helvetica", fontsize=11];
  edge [color="#7b8494", arrowsize=0.6];"""
_TABLE: Final = '<table border="1" color="#8a93a3" cellborder="0" cellspacing="0" cellpadding="4" style="rounded">'
_LONGEST: Final = 40


def dot(graph: Graph, *, target: str | None = None, depth: int | None = None, focus: str | None = None) -> str:
    """The graph as a ``digraph``: a table for each object, a cluster for each group, edges from row to table.

    ``target`` starts at one part, ``depth`` folds what lies deeper, ``focus`` shows one node with its neighbours.
    """
    found = picture(graph, target=target, depth=depth, focus=focus)
    lines = [f"digraph {quoted(found.name)} {{", _HEAD]
    groups = found.groups
    for number, (group, cards) in enumerate(groups.items()):
        lines.append(f"  subgraph cluster_{number} {{")
        lines.append(f"    label={quoted(group)};")
        lines += [f"    {_node(card)}" for card in cards]
        lines.append("  }")
    lines += [f"  {_node(card)}" for card in found.cards if not card.group]
    lines += [f"  {line}" for card in found.cards for line in _edges(card)]
    return "\n".join([*lines, "}", ""])


def quoted(text: str) -> str:
    """A text as Graphviz shows it: no character of it ends the string or begins an escape."""
    safe = printable(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{safe}"'


def _node(card: Card) -> str:
    count = f" ({len(card.nodes)} alike)" if len(card.nodes) > 1 else ""
    name = [_cell(card.name, 'colspan="2" align="left"')] if card.name else []
    title = f'<td port="head" colspan="2" align="left"><b>{_text(card.title)}</b> {_text(card.tag + count)}</td>'
    rows = [*name, title, *(_row(number, row) for number, row in enumerate(card.rows))]
    return f"{card.id} [label=<{_TABLE}{''.join(f'<tr>{row}</tr>' for row in rows)}</table>>];"


def _row(number: int, row: Row) -> str:
    return _cell(" " * (2 * row.level) + row.key, 'align="left"') + _cell(row.text, f'port="r{number}" align="right"')


def _cell(text: str, attributes: str) -> str:
    return f"<td {attributes}>{_text(text)}</td>"


def _text(text: str) -> str:
    """Text inside a table; Graphviz wants at least one character."""
    return escape(printable(elided(text, _LONGEST))) or " "


def _edges(card: Card) -> Iterator[str]:
    for number, row in enumerate(card.rows):
        if row.target:
            yield f"{card.id}:r{number}:e -> {row.target}:head:w;"
