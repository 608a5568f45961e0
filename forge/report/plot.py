"""A curve drawn with the characters of a terminal: two by four dots in each, or one star where there are no such characters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from forge.report.figures import Points

__all__ = ["plotted"]

_BRAILLE: Final = 0x2800
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a character
_LEAST_WIDTH: Final = 8


def plotted(points: Points, *, width: int, height: int, dots: bool = True, last: float | None = None) -> list[str]:
    """The lines of a drawing of this size with its least and its largest value, and the steps below; none without points.

    ``last`` is the step at the right edge, by default the last that there is a point for.
    """
    points = [(x, y) for x, y in points if math.isfinite(y)]
    if not points:
        return []
    low, high = min(y for _, y in points), max(y for _, y in points)
    left, right = points[0][0], max(last or 0.0, points[-1][0])
    labels = _labels(low, high, height)
    margin = max(map(len, labels))
    across = max(_LEAST_WIDTH, width - margin - 2)
    rows = _drawn(points, (left, right), (low, high), across, height, dots=dots)
    edge = "│" if dots else "|"
    lines = [f"{label:>{margin}} {edge}{row}".rstrip() for label, row in zip(labels, rows, strict=True)]
    begin, end = f"{left:g}", f"{right:g}"
    return [*lines, f"{'':>{margin}}  {begin}{end:>{max(1, across - len(begin))}}"]


def _labels(low: float, high: float, height: int) -> list[str]:
    labels = [""] * height
    labels[-1] = f"{low:.4g}"
    labels[0] = f"{high:.4g}"
    return labels


def _drawn(
    points: Points, x_range: tuple[float, float], y_range: tuple[float, float], width: int, height: int, *, dots: bool
) -> list[str]:
    across, down = (2, 4) if dots else (1, 1)
    columns, rows = width * across, height * down
    lit = set()
    before: tuple[int, int] | None = None
    for x, y in _thinned(points, x_range, columns):
        column = _place(x, x_range, columns)
        row = rows - 1 - _place(y, y_range, rows)
        lit.update(_line(before or (column, row), (column, row)))
        before = (column, row)
    cells = [[0] * width for _ in range(height)]
    for column, row in lit:
        cells[row // down][column // across] |= _DOTS[row % down][column % across]
    if not dots:
        return ["".join("*" if cell else " " for cell in line) for line in cells]
    return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in line) for line in cells]


def _thinned(points: Points, x_range: tuple[float, float], columns: int) -> Points:
    """The mean of the points that fall into one column: a long run is a line, and not a band."""
    found: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        found.setdefault(_place(point[0], x_range, columns), []).append(point)
    return [(sum(x for x, _ in some) / len(some), sum(y for _, y in some) / len(some)) for some in found.values()]


def _place(value: float, span: tuple[float, float], count: int) -> int:
    low, high = span
    return 0 if high <= low else min(count - 1, int((value - low) / (high - low) * count))


def _line(start: tuple[int, int], end: tuple[int, int]) -> set[tuple[int, int]]:
    (x, y), (to_x, to_y) = start, end
    count = max(abs(to_x - x), abs(to_y - y), 1)
    return {(round(x + (to_x - x) * part / count), round(y + (to_y - y) * part / count)) for part in range(count + 1)}
