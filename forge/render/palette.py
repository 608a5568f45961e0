"""The colours of the pictures: a hue for each group, for light and dark pages, written as plain CSS."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["HUES", "style_sheet"]

HUES: Final = (214, 158, 32, 276, 338, 190, 96, 248, 52, 8, 306, 128)
"""Degrees on the colour wheel, neighbours far from each other."""


class _Shade(NamedTuple):
    """A rule of the style sheet: selector, property, saturation and lightness on light and dark pages.

    ``own`` when a single element may have another hue than the card around it.
    """

    selector: str
    property: str
    light: tuple[int, int]
    dark: tuple[int, int]
    own: bool = False


_SHADES: Final = (
    _Shade(".box", "fill", (42, 97), (24, 11)),
    _Shade(".box", "stroke", (36, 87), (22, 22)),
    _Shade(".group", "fill", (42, 33), (42, 72)),
    _Shade(".card", "stroke", (30, 76), (20, 34)),
    _Shade(".head", "fill", (46, 93), (26, 19)),
    _Shade(".name", "fill", (42, 33), (40, 70)),
    _Shade(".to", "fill", (45, 31), (45, 74), own=True),
    _Shade(".pill", "fill", (42, 85), (26, 29)),
    _Shade(".pill-text", "fill", (50, 26), (50, 84)),
    _Shade(".edge", "stroke", (36, 58), (32, 50)),
    _Shade(".tip", "fill", (36, 58), (32, 50), own=True),
)

_COMMON: Final = """\
text { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
.key, .value, .value-left, .to { font: 11px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.caption { font-size: 17px; font-weight: 600; } .count { font-size: 12px; } .group { font-size: 13px; font-weight: 600; }
.name { font-size: 10.5px; } .title { font-size: 13.5px; font-weight: 600; } .pill-text { font-size: 9.5px; font-weight: 600; }
.value, .to, .more { text-anchor: end; } .pill-text { text-anchor: middle; }
.edge { fill: none; stroke-width: 1.4; } .box, .card { stroke-width: 1; }"""

_LIGHT: Final = {
    ".page": "fill: #ffffff",
    ".caption, .title, .value, .value-left": "fill: #1f2430",
    ".count, .key": "fill: #5d6678",
    ".card": "fill: #ffffff; stroke: #c6ccd6",
    ".head": "fill: #f3f5f8",
    ".name, .to, .pill-text": "fill: #515b6b",
    ".pill": "fill: #dfe3ea",
    ".edge": "stroke: #9aa4b2",
    ".tip, .dot": "fill: #9aa4b2",
    ".row-missing text": "fill: #b83228",
    ".object.added .card": "stroke: #2e9e5b; stroke-width: 2.5",
    ".object.removed .card": "stroke: #d0473c; stroke-width: 2.5; stroke-dasharray: 5 4",
    ".object.changed .card": "stroke: #c98a12; stroke-width: 2.5",
    ".wash-added": "fill: #def5e6",
    ".wash-removed": "fill: #fce6e4",
    ".wash-changed": "fill: #fdf0d6",
}
_DARK: Final = {
    ".page": "fill: #0f1318",
    ".caption, .title, .value, .value-left": "fill: #e4e8ee",
    ".count, .key": "fill: #95a0af",
    ".card": "fill: #171c23; stroke: #3b4451",
    ".head": "fill: #1f262f",
    ".name, .to, .pill-text": "fill: #a9b4c2",
    ".pill": "fill: #343d49",
    ".edge": "stroke: #5d6877",
    ".tip, .dot": "fill: #5d6877",
    ".row-missing text": "fill: #ff8a80",
    ".object.added .card": "stroke: #4cc27f",
    ".object.removed .card": "stroke: #f0766c",
    ".object.changed .card": "stroke: #e0a83c",
    ".wash-added": "fill: #1a3a28",
    ".wash-removed": "fill: #43211f",
    ".wash-changed": "fill: #3f3112",
}


def style_sheet(hues: Iterable[int]) -> str:
    """The CSS of a picture that uses these hues, by their number."""
    used = sorted(set(hues))
    light = [*_rules(_LIGHT), *_tinted(used, dark=False)]
    dark = [*_rules(_DARK), *_tinted(used, dark=True)]
    return "\n".join([_COMMON, *light, "@media (prefers-color-scheme: dark) {", *dark, "}"])


def _rules(found: dict[str, str]) -> Iterator[str]:
    return (f"{selector} {{ {rule} }}" for selector, rule in found.items())


def _tinted(used: Iterable[int], *, dark: bool) -> Iterator[str]:
    """The rules of the groups; those for an element's own hue come last, so that they win over its card's."""
    numbers = list(used)
    for joint in (" ", ""):
        for number in numbers:
            for shade in _SHADES:
                color = _color(HUES[number % len(HUES)], *(shade.dark if dark else shade.light))
                if joint or shade.own:
                    yield f".g{number}{joint}{shade.selector} {{ {shade.property}: {color} }}"


def _color(hue: int, saturation: int, lightness: int) -> str:
    parts = colorsys.hls_to_rgb(hue / 360, lightness / 100, saturation / 100)
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)
