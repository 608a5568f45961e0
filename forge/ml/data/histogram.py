"""How values are spread: counts in bins of a round width, drawn for the terminal and as a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bin", "bars", "binned", "picture_of"]

_BLOCKS: Final = " ▏▎▍▌▋▊▉█"
_WANTED_BINS: Final = 24
# A few values far out would leave one bin for all others: beyond this share they get an open bin together.
_INSIDE: Final = 0.97


@dataclass(frozen=True, slots=True)
class Bin:
    """How many values lie from ``start`` up to, not including, ``stop``; an open bin has no stop."""

    start: int
    stop: int | None
    count: int

    def holds(self, value: int) -> bool:
        """Whether a value lies in it."""
        return self.start <= value and (self.stop is None or value < self.stop)

    @property
    def label(self) -> str:
        """``100-199``, or ``1,000 +`` for an open bin."""
        if self.stop is None:
            return f"{self.start:,} +"
        return f"{self.start:,}" if self.stop == self.start + 1 else f"{self.start:,}-{self.stop - 1:,}"


def binned(values: np.ndarray) -> list[Bin]:
    """Whole numbers in at most two dozen bins and an open one, from the bin of the least to that of the greatest."""
    if not len(values):
        return []
    least, most = int(values.min()), int(values.max())
    inside = int(np.quantile(values, _INSIDE, method="higher"))
    top = most if most <= inside * 2 else inside
    width = _round_width((top - least + 1) / _WANTED_BINS)
    first, stop = least // width * width, (top // width + 1) * width
    counts = np.bincount((np.minimum(values, stop) - first) // width, minlength=(stop - first) // width + 1)
    found = [
        Bin(start, start + width, int(count)) for start, count in zip(range(first, stop, width), counts, strict=False)
    ]
    return [*found, Bin(stop, None, int(counts[-1]))] if counts[-1] else found


def _round_width(least: float) -> int:
    scale = 10 ** max(math.floor(math.log10(max(least, 1))), 0)
    steps = (1, 2, 5, 10) if scale == 1 else (1, 2, 2.5, 5, 10)
    return next(int(step * scale) for step in steps if step * scale >= least)


def bars(bins: Sequence[Bin], width: int, *, limit: int | None = None) -> list[tuple[str, str, str]]:
    """One line a bin: its label, a bar, its count; the bin that a limit lies in says so."""
    most = max((each.count for each in bins), default=0)
    labels = max((len(each.label) for each in bins), default=0)
    room = max(width - labels - len(f"{most:,}") - 3, 16)
    room -= 0 if limit is None else min(len(f"  max_length {limit:,}"), room // 2)
    lines = []
    for each in bins:
        eighths = round(each.count / most * room * 8)
        # The smallest count is still seen.
        eighths = max(eighths, 1) if each.count else 0
        bar = "█" * (eighths // 8) + (_BLOCKS[eighths % 8] if eighths % 8 else "")
        note = f"  max_length {limit:,}" if limit is not None and each.holds(limit) else ""
        lines.append((f"{each.label:>{labels}}  ", bar, (f" {each.count:,}" if each.count else "·") + note))
    return lines


_CSS: Final = """\
text { font-family: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; font-size: 12px; }
.caption { font-size: 17px; font-weight: 600; } .fact { font-size: 12.5px; } .tick { font-size: 11px; }
.count { font-size: 10px; text-anchor: middle; } .end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke-width: 1; } .limit { stroke-width: 1.5; stroke-dasharray: 5 4; }
.page { fill: #ffffff; } .caption { fill: #1f2430; } .fact, .tick, .count { fill: #5d6678; }
.bar { fill: #3f7fd1; } .grid { stroke: #e3e7ed; } .limit { stroke: #c98a12; } .limit-text { fill: #96660a; }
@media (prefers-color-scheme: dark) {
.page { fill: #0f1318; } .caption { fill: #e4e8ee; } .fact, .tick, .count { fill: #95a0af; }
.bar { fill: #5b9bea; } .grid { stroke: #262d37; } .limit { stroke: #e0a83c; } .limit-text { fill: #e0a83c; }
}"""

_WIDTH: Final = 760
_LEFT: Final = 64
_RIGHT: Final = 24
_PLOT: Final = 220
_LINE: Final = 19


def picture_of(charts: Sequence[tuple[str, Sequence[str], Sequence[Bin], int | None]]) -> str:
    """An SVG with a chart below another: each has a title, lines of facts, bins, and a value that is marked, if any."""
    parts, top = [], 20
    for title, facts, bins, limit in charts:
        drawn, height = _chart(title, facts, bins, limit)
        parts.append(f'<g transform="translate(0 {top})">\n{drawn}\n</g>')
        top += height + 24
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}">',
            f"<style>\n{_CSS}\n</style>",
            f'<rect class="page" width="{_WIDTH}" height="{top}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _chart(title: str, facts: Sequence[str], bins: Sequence[Bin], limit: int | None) -> tuple[str, int]:
    lines = [_text("caption", _RIGHT, 14, title)]
    lines += [_text("fact", _RIGHT, 38 + _LINE * number, fact) for number, fact in enumerate(facts)]
    top = 38 + _LINE * len(facts) + 18
    base = top + _PLOT
    most = max((each.count for each in bins), default=0)
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(bins), 1)
    ceiling, grid = _grid(most)
    for value in grid:
        y = base - value / ceiling * _PLOT
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(_text("tick end", _LEFT - 8, y + 4, f"{value:,}"))
    for number, each in enumerate(bins):
        lines += _column(each, _LEFT + number * step, step, base, ceiling)
    every = math.ceil(len(bins) / 12)
    lines += [
        _text(
            "tick middle",
            _LEFT + (number if each.stop is not None else number + 0.5) * step,
            base + 17,
            f"{each.start:,}" + ("" if each.stop else " +"),
        )
        for number, each in enumerate(bins)
        if number % every == 0 or each.stop is None
    ]
    lines += _limit(bins, limit, step, top, base)
    lines.append(_text("tick middle", (_LEFT + _WIDTH - _RIGHT) / 2, base + 36, "tokens of an example"))
    return "\n".join(lines), base + 44


def _column(each: Bin, x: float, step: float, base: int, ceiling: int) -> list[str]:
    if not each.count:
        return []
    height = max(each.count / ceiling * _PLOT, 1.0)
    rect = f'<rect class="bar" x="{x + 1:.1f}" y="{base - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}" rx="1.5">'
    return [f"{rect}<title>{escape(each.label)} tokens: {each.count:,}</title></rect>"]


def _limit(bins: Sequence[Bin], limit: int | None, step: float, top: int, base: int) -> list[str]:
    """The longest sequence, where it lies inside the picture."""
    closed = [each for each in bins if each.stop is not None]
    if limit is None or not closed or not closed[0].start <= limit <= closed[-1].stop:
        return []
    span = closed[-1].stop - closed[0].start
    x = _LEFT + (limit - closed[0].start) / span * step * len(closed)
    side = ("end", x - 5) if x > _WIDTH * 0.7 else ("", x + 5)
    return [
        f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{base}"/>',
        _text(f"limit-text {side[0]}", side[1], top + 10, f"max_length {limit:,}"),
    ]


def _grid(most: int) -> tuple[int, list[int]]:
    step = _round_width(max(most, 1) / 4)
    ceiling = max(math.ceil(most / step), 1) * step
    return ceiling, list(range(0, ceiling + 1, step))


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind.strip()}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
