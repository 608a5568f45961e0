"""A graph as SVG: cards in coloured groups, an object that several others use drawn once, no script and no outside file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from forge.base.origin import shown_path
from forge.graph.node import Call, Const, Expr
from forge.render.cards import picture
from forge.render.label import elided, printable, shown
from forge.render.layout import Line, Point, Size, lay_out
from forge.render.palette import style_sheet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.graph.node import Graph
    from forge.render.cards import Card, Mark, Picture, Row
    from forge.render.layout import Box, Engine

__all__ = ["Links", "drawn", "svg"]

Links: TypeAlias = Literal["file", "vscode"]
"""Where a click leads: to the file beside the picture, or into the editor."""

_SANS: Final = 0.6  # width of a letter of the widest usual font, as a part of its size
_MONO: Final = 6.65
_PAD: Final = 12
_HEAD: Final = 44
_ROW: Final = 18
_LEVEL: Final = 12
_NARROWEST: Final = 168
_LONGEST_KEY: Final = 26
_LONGEST_VALUE: Final = 30
_LONGEST_TITLE: Final = 34
_LONGEST_NAME: Final = 40
_GAP: Final = 18
_ROUND: Final = 8
_MARGIN: Final = 28
_CAPTION: Final = 56
_BEHIND: Final = 4
_TIP: Final = 7
_TOOLTIP_ROWS: Final = 40
_TOOLTIP_WIDTH: Final = 160


def svg(
    graph: Graph,
    *,
    target: str | None = None,
    depth: int | None = None,
    focus: str | None = None,
    title: str | None = None,
    links: Links | None = None,
    marks: Mapping[Path, Mark] | None = None,
    engine: Engine = "auto",
) -> str:
    """The picture of a graph as one SVG document.

    ``target`` starts at one part, ``depth`` folds what lies deeper, ``focus`` shows one node with its users and its
    parts. ``links`` makes titles and rows lead to the lines they come from. ``marks`` shows a comparison.
    """
    found = picture(graph, target=target, depth=depth, focus=focus, marks=marks)
    return drawn(found, title=title, links=links, engine=engine)


def drawn(found: Picture, *, title: str | None = None, links: Links | None = None, engine: Engine = "auto") -> str:
    """Cards as one SVG document."""
    return "\n".join([*_Drawing(found, title, links, engine).document(), ""])


class _Drawing:
    def __init__(self, found: Picture, title: str | None, links: Links | None, engine: Engine) -> None:
        self.picture = found
        self.title = title if title is not None else found.name
        self.links = links
        self.groups = found.groups
        self.hues = {group: number for number, group in enumerate(self.groups)}
        self.cards = {card.id: card for card in found.cards}
        self.widths = {card.id: _width(card) for card in found.cards}
        self.sizes = {card.id: self._size(card) for card in found.cards}
        self.lines = [
            Line(card.id, _HEAD + _row_middle(number), row.target)
            for card in found.cards
            for number, row in enumerate(card.rows)
            if row.target
        ]
        self.layout = lay_out(self.sizes, self.lines, engine)

    def _size(self, card: Card) -> Size:
        stack = _BEHIND * 2 if len(card.nodes) > 1 else 0
        height = _HEAD + (len(card.rows) * _ROW + _PAD if card.rows else 0) + stack
        return Size(self.widths[card.id], height, _HEAD / 2, card.group)

    # ---- the document

    def document(self) -> Iterator[str]:
        """All lines of the document, from back to front."""
        left, top, width, height = self._frame()
        size = f'width="{width:.0f}" height="{height:.0f}" viewBox="{left:.0f} {top:.0f} {width:.0f} {height:.0f}"'
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={_attribute(self.title)}>'
        yield f"<style>\n{style_sheet(self.hues.values())}\n</style>"
        yield f'<rect class="page" x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}" rx="12"/>'
        if self.title:
            x, y = left + _MARGIN, top + _MARGIN + 12
            yield f'<text class="caption" x="{x:.0f}" y="{y:.0f}">{_text(elided(self.title, 80))}</text>'
            yield f'<text class="count" x="{x:.0f}" y="{y + 20:.0f}">{_counted(self.picture.cards)}</text>'
        for group, box in self.layout.groups.items():
            yield from self._group(group, box)
        for line, curve in zip(self.lines, self.layout.curves, strict=True):
            yield self._edge(line, curve)
        for card in self.picture.cards:
            yield from self._card(card, self.layout.cards[card.id])
        yield "</svg>"

    def _frame(self) -> tuple[float, float, float, float]:
        """What the document shows: everything, a margin around it, and room for the caption."""
        boxes = [*self.layout.cards.values(), *self.layout.groups.values()]
        points = [point for curve in self.layout.curves for point in curve]
        lefts = [box.x for box in boxes] + [point.x for point in points] or [0.0]
        tops = [box.y for box in boxes] + [point.y for point in points] or [0.0]
        rights = [box.x + box.width for box in boxes] + [point.x for point in points] or [0.0]
        bottoms = [box.y + box.height for box in boxes] + [point.y for point in points] or [0.0]
        caption = _CAPTION if self.title else 0
        width = max(rights) - min(lefts) + 2 * _MARGIN
        wanted = len(elided(self.title, 80)) * 17 * _SANS + 2 * _MARGIN
        height = max(bottoms) - min(tops) + 2 * _MARGIN + caption
        return min(lefts) - _MARGIN, min(tops) - _MARGIN - caption, max(width, wanted), height

    def _hue(self, group: str) -> str:
        return f" g{self.hues[group]}" if group in self.hues else ""

    def _group(self, group: str, box: Box) -> Iterator[str]:
        yield f'<g class="cluster{self._hue(group)}" data-group={_attribute(group)}>'
        yield f'<rect class="box" {_box(box)} rx="14"/>'
        yield f'<text class="group" x="{box.x + 14:.1f}" y="{box.y + 21:.1f}">{_text(elided(group, _LONGEST_TITLE))}</text></g>'

    def _edge(self, line: Line, curve: Sequence[Point]) -> str:
        """A curve in the colour of what it leads to, and its tip."""
        end = curve[-1]
        points = [*curve[:-2], Point(min(curve[-2].x, end.x - _TIP), curve[-2].y), Point(end.x - _TIP + 1, end.y)]
        path = f"M{_point(points[0])}C" + " ".join(map(_point, points[1:]))
        tip = f"M{_point(end)}l-{_TIP}-3.5v7z"
        both = f'<path class="edge" d="{path}"/><path class="tip" d="{tip}"/>'
        hue = self._hue(self.cards[line.target].group)
        return f'<g class="line{hue}" data-from="{line.source}" data-to="{line.target}">{both}</g>'

    # ---- cards

    def _card(self, card: Card, box: Box) -> Iterator[str]:
        mark = f" {card.mark}" if card.mark else ""
        place = f'transform="translate({box.x:.1f} {box.y:.1f})"'
        height = self.sizes[card.id].height
        width = self.widths[card.id]
        yield f'<g id="{card.id}" class="object{self._hue(card.group)}{mark}" data-group={_attribute(card.group)} {place}>'
        yield f"<title>{_text(_tooltip(card), keep_lines=True)}</title>"
        if len(card.nodes) > 1:
            height -= 2 * _BEHIND
            for shift in (2 * _BEHIND, _BEHIND):
                yield _rectangle("card", shift, shift, width, height)
        yield _rectangle("card", 0, 0, width, height)
        yield f'<path class="head" d="{_head_path(width, whole=not card.rows)}"/>'
        yield from self._title(card, width)
        for number, row in enumerate(card.rows):
            yield self._row(card, row, number, width)
        yield "</g>"

    def _title(self, card: Card, width: float) -> Iterator[str]:
        name = _text(elided(card.name, _LONGEST_NAME)) if card.name else "config"
        yield f'<text class="name" x="{_PAD}" y="17">{name}</text>'
        title = f'<text class="title" x="{_PAD}" y="35">{_text(elided(card.title, _LONGEST_TITLE))}</text>'
        origin = (card.node.target_origin if isinstance(card.node, Call) else None) or card.node.origin
        yield self._linked(title, origin)
        right = width - 8
        for pill in _pills(card):
            wide = _pill_width(pill)
            right -= wide
            yield f'<rect class="pill" x="{right:.1f}" y="6.5" width="{wide:.1f}" height="14" rx="7"/>'
            yield f'<text class="pill-text" x="{right + wide / 2:.1f}" y="17">{_text(pill)}</text>'
            right -= 5

    def _row(self, card: Card, row: Row, number: int, width: float) -> str:
        top = _HEAD + 6 + number * _ROW
        x = _PAD + row.level * _LEVEL
        wash = row.mark or card.mark
        parts = [f'<rect class="wash-{wash}" x="1" y="{top}" width="{width - 2:.1f}" height="{_ROW}"/>'] if wash else []
        parts.append(f'<text class="key" x="{x}" y="{top + 13}">{_text(elided(row.key, _LONGEST_KEY))}</text>')
        text = _text(elided(row.text, _LONGEST_VALUE))
        kind = "to" if row.kind == "object" else "key end" if row.kind == "head" else "value"
        if text:
            anchor = ' text-anchor="end"' if row.kind == "head" else ""
            parts.append(f'<text class="{kind}" x="{width - _PAD:.1f}" y="{top + 13}"{anchor}>{text}</text>')
        if row.target:
            hue = self._hue(self.cards[row.target].group)
            parts.append(f'<circle class="tip{hue}" cx="{width:.1f}" cy="{top + 9}" r="2.6"/>')
        inner = self._linked("".join(parts), row.origin)
        return f'<g class="row {row.kind}">{inner}</g>'

    def _linked(self, inner: str, origin: Origin | None) -> str:
        address = _address(origin, self.links)
        return f"<a href={_attribute(address)}>{inner}</a>" if address else inner


# ---- sizes


def _width(card: Card) -> float:
    """Wide enough for the title, the badges and every row; values may be elided before."""
    pills = sum(_pill_width(pill) + 5 for pill in _pills(card))
    head = len(elided(card.name, _LONGEST_NAME) or "config") * 10.5 * _SANS + pills + _GAP / 2
    title = len(elided(card.title, _LONGEST_TITLE)) * 13.5 * (_SANS + 0.04)
    rows = [
        (len(elided(row.key, _LONGEST_KEY)) + len(elided(row.text, _LONGEST_VALUE))) * _MONO + row.level * _LEVEL + _GAP
        for row in card.rows
    ]
    return float(round(max([head, title, *rows, _NARROWEST - 2 * _PAD]) + 2 * _PAD))


def _row_middle(number: int) -> float:
    return 6 + number * _ROW + _ROW / 2


def _pills(card: Card) -> list[str]:
    """The badges of a card, from right to left."""
    found = [f"{card.users} users"] if card.users > 1 else []
    found += [f"{len(card.nodes)} alike"] if len(card.nodes) > 1 else []
    return [*found, card.tag] if card.tag else found


def _pill_width(text: str) -> float:
    return len(text) * 9.5 * _SANS + 12


# ---- texts


def _text(text: str, *, keep_lines: bool = False) -> str:
    """Text that XML reads as the same text; characters that XML has no way to write are shown as escapes."""
    lines = text.split("\n") if keep_lines else [text]
    return "\n".join(escape(printable(line)) for line in lines)


def _attribute(text: str) -> str:
    return quoteattr(printable(text))


def _tooltip(card: Card) -> str:
    """The full path, target and values, and where they are written."""
    node = card.node
    head = [card.name or card.title]
    if isinstance(node, Call):
        head.append(printable(node.target) + (f" ({node.mode})" if node.mode != "call" else ""))
    if node.origin:
        head.append(str(node.origin))
    rows = [f"{'  ' * row.level}{row.key}: {row.text}" for row in card.rows[:_TOOLTIP_ROWS]]
    if len(card.nodes) == 1 and isinstance(node, Call):
        full = {
            edge.key: shown(edge.node.value, _TOOLTIP_WIDTH)
            for edge in node.kwargs
            if isinstance(edge.node, (Const, Expr))
        }
        rows = [
            f"{row.key}: {full[row.key]}" if not row.level and row.key in full else line
            for row, line in zip(card.rows, rows, strict=False)
        ]
    return "\n".join([*head, *([""] if rows else []), *rows])


def _counted(cards: Sequence[Card]) -> str:
    count = sum(len(card.nodes) for card in cards)
    return f"{count} object{'s' if count != 1 else ''}" + (f", {len(cards)} drawn" if count != len(cards) else "")


def _address(origin: Origin | None, links: Links | None) -> str:
    if origin is None or links is None or not origin.file:
        return ""
    if links == "vscode":
        place = f":{origin.line}:{origin.column}" if origin.line else ""
        return f"vscode://file{quote(os.path.abspath(origin.file), errors='replace')}{place}"
    return quote(shown_path(origin.file), errors="replace") + (f"#L{origin.line}" if origin.line else "")


# ---- shapes


def _point(point: Point) -> str:
    return f"{point.x:.1f},{point.y:.1f}"


def _box(box: Box) -> str:
    return f'x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'


def _rectangle(name: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{name}" x="{x}" y="{y}" width="{width:.1f}" height="{height:.1f}" rx="{_ROUND}"/>'


def _head_path(width: float, *, whole: bool) -> str:
    """The coloured head of a card, half a pixel inside its border; round below too when nothing follows."""
    r, low = _ROUND - 0.5, _HEAD - (0.5 if whole else 0)
    across = f"h{width - 1 - 2 * r:.1f}"
    if whole:
        down = f"v{low - 0.5 - 2 * r:.1f}q0 {r}-{r} {r}h-{width - 1 - 2 * r:.1f}q-{r} 0-{r}-{r}"
    else:
        down = f"v{low - 0.5 - r:.1f}h-{width - 1:.1f}"
    return f"M0.5 {0.5 + r}q0-{r} {r}-{r}{across}q{r} 0 {r} {r}{down}z"
