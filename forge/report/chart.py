"""A chart as inline SVG: lines over steps, with axes; colours are classes, so that one page is light or dark."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from forge.report.figures import Points

__all__ = ["ChartLine", "chart", "smoothed", "ticks"]

_WIDTH: Final = 560
_HEIGHT: Final = 230
_LEFT: Final = 62
_RIGHT: Final = 24
_TOP: Final = 12
_BOTTOM: Final = 30
_MOST_POINTS: Final = 600
_STEPS: Final = (1, 2, 2.5, 5, 10)
_BEGINNING: Final = 0.05  # of the steps, which may lie above the frame
_ENOUGH: Final = 50  # so many points have a beginning
_FEW: Final = 40  # so many points are drawn as points, too
_LARGE: Final = 1e6
_SMALL: Final = 1e-3


class ChartLine(NamedTuple):
    """One line of a chart: its name, its points, and how it looks, ``raw``, ``a``, ``b`` ..."""

    name: str
    points: Points
    style: str = "a"


class _Frame(NamedTuple):
    """What of the plane is shown."""

    left: float
    right: float
    low: float
    high: float

    def x(self, step: float) -> float:
        span = self.right - self.left or 1.0
        return _LEFT + (step - self.left) / span * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        span = self.high - self.low or 1.0
        return _HEIGHT - _BOTTOM - (value - self.low) / span * (_HEIGHT - _TOP - _BOTTOM)


def chart(
    title: str,
    lines: Sequence[ChartLine],
    *,
    marks: Sequence[tuple[float, str]] = (),
    zero: bool = False,
    cut: bool = False,
) -> str:
    """The chart of some lines; ``marks`` are steps at which something happened, ``zero`` begins the axis at nothing.

    With ``cut`` a beginning that is far above the rest lies outside of the frame, so that the rest is no flat line; that is said.
    """
    shown = [line._replace(points=_thinned(line.points)) for line in lines if line.points]
    if not shown:
        return ""
    frame, y_ticks = _frame(shown, zero=zero, cut=cut)
    inside = [text for line in shown for text in _drawn(frame, line)]
    top, height = _TOP - 4, _HEIGHT - _TOP - _BOTTOM + 8
    # An inner picture shows nothing beyond its edges.
    view = f'<svg y="{top}" width="{_WIDTH}" height="{height}" viewBox="0 {top} {_WIDTH} {height}">'
    parts = [*_axes(frame, y_ticks), *_marks(frame, marks), view, *inside, "</svg>", *_above(frame, shown)]
    label = escape(f"{title} over steps", quote=True)
    body = "\n".join(parts)
    return f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">\n{body}\n</svg>'


def smoothed(points: Points, share: float = 0.02) -> Points:
    """The running mean over a share of the points on both sides, so many at most as there are on either: the ends stay."""
    reach = int(len(points) * share)
    if reach < 1:
        return points
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    found = []
    for number, (step, _) in enumerate(points):
        near = min(reach, number, len(points) - 1 - number)
        first, last = number - near, number + near + 1
        found.append((step, (sums[last] - sums[first]) / (last - first)))
    return found


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from at or below the least to at or above the largest."""
    if high <= low:
        low, high = (low - 0.5, high + 0.5) if low == 0 else (low - abs(low) / 10, high + abs(low) / 10)
    raw = (high - low) / max(1, most - 1)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in _STEPS if unit * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _frame(lines: Sequence[ChartLine], *, zero: bool, cut: bool) -> tuple[_Frame, list[float]]:
    values = [value for line in lines for _, value in line.points]
    steps = [step for line in lines for step, _ in line.points]
    if cut and max(len(line.points) for line in lines) >= _ENOUGH:
        begun = min(steps) + _BEGINNING * (max(steps) - min(steps))
        later = [value for line in lines for step, value in line.points if step >= begun]
        values = [min(values), min(max(later) + (max(later) - min(later)) / 4, max(values))]
    marks = ticks(min(0.0, *values) if zero else min(values), max(values))
    return _Frame(min(steps), max(steps), marks[0], marks[-1]), marks


def _axes(frame: _Frame, y_ticks: Sequence[float]) -> Iterator[str]:
    for value in y_ticks:
        y = frame.y(value)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="side" x="{_LEFT - 8}" y="{y + 4:.1f}">{_number(value)}</text>'
    inside = [step for step in ticks(frame.left, frame.right, 7) if frame.left <= step <= frame.right]
    for step in inside if frame.right > frame.left else [frame.left]:
        yield f'<text class="below" x="{frame.x(step):.1f}" y="{_HEIGHT - _BOTTOM + 19}">{_number(step)}</text>'


def _marks(frame: _Frame, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    for step, text in marks:
        if frame.left <= step <= frame.right:
            x = frame.x(step)
            line = f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            yield f"<g><title>{escape(text)}</title>{line}</g>"


def _above(frame: _Frame, lines: Sequence[ChartLine]) -> Iterator[str]:
    """How far what is not shown goes."""
    step, value = max((point for line in lines for point in line.points), key=lambda point: point[1])
    if value > frame.high:
        text = f"cut off above: up to {_number(value)} at step {_number(step)}"
        yield f'<text class="side" x="{_WIDTH - _RIGHT}" y="{_TOP + 12}">{text}</text>'


def _drawn(frame: _Frame, line: ChartLine) -> Iterator[str]:
    places = [(frame.x(step), frame.y(value)) for step, value in line.points]
    if len(places) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        yield f'<polyline class="line {line.style}" points="{path}"><title>{escape(line.name)}</title></polyline>'
    if len(places) <= _FEW and line.style != "raw":
        for (x, y), (step, value) in zip(places, line.points, strict=True):
            text = escape(f"{line.name} {value:.5g} at step {step:g}")
            yield f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"><title>{text}</title></circle>'


def _thinned(points: Points) -> Points:
    """So few points that a page stays small: of each stretch the first, the least, the largest and the last."""
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / (_MOST_POINTS / 4))
    kept: Points = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        chosen = {part[0], part[-1], min(part, key=lambda one: one[1]), max(part, key=lambda one: one[1])}
        kept += sorted(chosen)
    return kept


def _number(value: float) -> str:
    if value == 0 or _SMALL <= abs(value) < _LARGE:
        text = f"{value:,.6g}" if abs(value) < 1 else f"{value:,.4f}".rstrip("0").rstrip(".")
    else:
        text = f"{value:.2g}"
    return text
