"""A graph as SVG: cards in coloured groups, an object that several others use drawn once, no script and no outside file."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from forge.base.origin import shown_path
from forge.graph.node import Call, Const, Expr
from forge.render.cards import picture
from forge.render.label import elided, printable, shown
from forge.render.layout import Box, Line, Point, Size, lay_out
from forge.render.palette import style_sheet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from forge.base.origin import Origin
    from forge.base.paths import Path
    from forge.graph.node import Graph
    from forge.render.cards import Card, Mark, Picture, Row
    from forge.render.layout import Engine

__all__ = ["Links", "drawn", "svg"]

Links: TypeAlias = Literal["file", "vscode"]
"""Where a click leads: to the file beside the picture, or into the editor."""

_SANS: Final = 0.6  # width of a letter of the widest usual font, as a part of its size
_MONO: Final = 6.65
_PAD: Final = 12
_HEAD: Final = 44
_ROW: Final = 18
_LEVEL: Final = 12
_NARROWEST: Final = 168.0
_WIDTH_STEP: Final = 36.0  # few different widths keep the edges of a column in line
_LONGEST_KEY: Final = 32
_LONGEST_VALUE: Final = 33
_LONGEST_TITLE: Final = 34
_LONGEST_NAME: Final = 40
_GAP: Final = 18
_ROUND: Final = 8
_MARGIN: Final = 28
_CAPTION: Final = 56
_LONGEST_CAPTION: Final = 80
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
        self.hues = found.order
        self.top = found.top
        self.cards = {card.id: card for card in found.cards if card is not self.top}
        self.widths = {card.id: _width(card) for card in self.cards.values()}
        self.sizes = {card.id: self._size(card) for card in self.cards.values()}
        self.lines = [
            Line(card.id, _HEAD + _row_middle(number), row.target)
            for card in self.cards.values()
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
        inner = self._bounds()
        width = max(inner.width, len(elided(self.title, _LONGEST_CAPTION)) * 17 * _SANS) + 2 * _MARGIN
        caption = list(self._caption(inner.x, width - 2 * _MARGIN))
        above = (_CAPTION if self.title else 0) + _ROW * len({y for y, _ in caption})
        height = inner.height + above + 2 * _MARGIN
        box = Box(inner.x - _MARGIN, inner.y - above - _MARGIN, width, height)
        size = f'width="{width:.0f}" height="{height:.0f}" viewBox="{box.x:.0f} {box.y:.0f} {width:.0f} {height:.0f}"'
        yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={_attribute(self.title)}>'
        yield f"<style>\n{style_sheet(self.hues[card.group] for card in self.cards.values() if card.group)}\n</style>"
        yield f'<rect class="page" {_box(box)} rx="12"/>'
        yield from self._heading(box, caption)
        for group, place in self.layout.groups.items():
            yield from self._group(group, place)
        for line, curve in zip(self.lines, self.layout.curves, strict=True):
            yield self._edge(line, curve)
        for card in self.cards.values():
            yield from self._card(card, self.layout.cards[card.id])
        yield "</svg>"

    def _bounds(self) -> Box:
        """The rectangle around everything that has a place."""
        boxes = [*self.layout.cards.values(), *self.layout.groups.values()]
        points = [point for curve in self.layout.curves for point in curve]
        points += [Point(box.x, box.y) for box in boxes]
        points += [Point(box.x + box.width, box.y + box.height) for box in boxes]
        if not points:
            return Box(0, 0, _NARROWEST, 0)
        left, top = min(point.x for point in points), min(point.y for point in points)
        return Box(left, top, max(point.x for point in points) - left, max(point.y for point in points) - top)

    def _heading(self, box: Box, caption: Sequence[tuple[int, str]]) -> Iterator[str]:
        """The name of the config, how many objects it has, and its own values."""
        x, y = box.x + _MARGIN, box.y + _MARGIN + 12
        if self.title:
            yield f'<text class="caption" x="{x:.0f}" y="{y:.0f}">{_text(elided(self.title, _LONGEST_CAPTION))}</text>'
            yield f'<text class="count" x="{x:.0f}" y="{y + 20:.0f}">{_counted(list(self.cards.values()))}</text>'
            y += 42
        if self.top is not None:
            yield f'<g id="{self.top.id}" class="object" data-group="">'
            yield f"<title>{_text(_tooltip(self.top), keep_lines=True)}</title>"
            yield from (f'<g transform="translate(0 {y + line * _ROW:.0f})">{text}</g>' for line, text in caption)
            yield "</g>"

    def _caption(self, left: float, width: float) -> Iterator[tuple[int, str]]:
        """The values of the config itself, one behind the other, with the line each stands on."""
        line, x = 0, 0.0
        for row in self.top.rows if self.top is not None else ():
            key, value = elided(row.key, _LONGEST_KEY), elided(row.text, _LONGEST_VALUE)
            wide = (len(key) + len(value) + 1) * _MONO
            if x and x + wide > width:
                line, x = line + 1, 0.0
            at = left + x + (len(key) + 1) * _MONO
            text = f'<text class="key" x="{left + x:.1f}">{_text(key)}</text><text class="value-left" x="{at:.1f}">{_text(value)}</text>'
            yield line, f'<g class="row row-{row.kind}">{self._linked(text, row.origin)}</g>'
            x += wide + _GAP * 1.5

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
        name = _text(elided(card.name, _LONGEST_NAME))
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
        wash = row.mark or (card.mark if card.mark != "changed" else None)
        parts = [f'<rect class="wash-{wash}" x="1" y="{top}" width="{width - 2:.1f}" height="{_ROW}"/>'] if wash else []
        parts.append(f'<text class="key" x="{x}" y="{top + 13}">{_text(elided(row.key, _LONGEST_KEY))}</text>')
        text = _text(elided(row.text, _LONGEST_VALUE))
        kind = {"object": "to", "head": "key more"}.get(row.kind, "value")
        hue = self._hue(self.cards[row.target].group) if row.target else ""
        if text:
            parts.append(f'<text class="{kind}{hue}" x="{width - _PAD:.1f}" y="{top + 13}">{text}</text>')
        if row.target:
            parts.append(f'<circle class="tip{hue}" cx="{width:.1f}" cy="{top + 9}" r="2.6"/>')
        inner = self._linked("".join(parts), row.origin)
        return f'<g class="row row-{row.kind}">{inner}</g>'

    def _linked(self, inner: str, origin: Origin | None) -> str:
        address = _address(origin, self.links)
        return f"<a href={_attribute(address)}>{inner}</a>" if address else inner


# ---- sizes


def _width(card: Card) -> float:
    """Wide enough for the title, the badges and every row; values may be elided before."""
    pills = sum(_pill_width(pill) + 5 for pill in _pills(card))
    head = len(elided(card.name, _LONGEST_NAME)) * 10.5 * _SANS + pills + _GAP / 2
    title = len(elided(card.title, _LONGEST_TITLE)) * 13.5 * (_SANS + 0.04)
    rows = [
        (len(elided(row.key, _LONGEST_KEY)) + len(elided(row.text, _LONGEST_VALUE))) * _MONO + row.level * _LEVEL + _GAP
        for row in card.rows
    ]
    wanted = max([head, title, *rows, _NARROWEST - 2 * _PAD]) + 2 * _PAD
    return _NARROWEST + _WIDTH_STEP * math.ceil((wanted - _NARROWEST) / _WIDTH_STEP)


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
    """How many objects there are, and how many cards show them; lists and mappings with a card of their own are none."""
    shown = [len(objects) for card in cards if (objects := [node for node in card.nodes if isinstance(node, Call)])]
    count = sum(shown)
    return f"{count} object{'s' if count != 1 else ''}" + (f", {len(shown)} drawn" if count != len(shown) else "")


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
