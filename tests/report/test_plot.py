from __future__ import annotations

import math

import pytest

from forge.report.plot import plotted

FALLING = [(step, 100 / step) for step in range(1, 1001)]


def test_without_a_point_nothing_is_drawn() -> None:
    assert plotted([], width=40, height=5) == []
    assert plotted([(1, math.nan)], width=40, height=5) == []


@pytest.mark.parametrize("dots", [False, True])
def test_a_curve_has_its_size_and_its_ends(dots: bool) -> None:  # noqa: FBT001 - a parameter of the test
    lines = plotted(FALLING, width=60, height=8, dots=dots)
    assert len(lines) == 9
    assert max(map(len, lines)) <= 60
    assert lines[0].startswith("100 " + ("│" if dots else "|"))
    assert lines[7].lstrip().startswith("0.1 ")
    assert lines[8].split() == ["1", "1000"]
    assert "".join(lines).isascii() is not dots


def test_a_line_falls_from_the_left_above_to_the_right_below() -> None:
    lines = plotted([(0, 3), (1, 2), (2, 1)], width=16, height=3, dots=False)
    marks = [line.partition("|")[2] for line in lines[:3]]
    assert marks[0].lstrip("*") == ""
    assert marks[0]
    assert marks[2].rstrip().endswith("*")
    assert len(marks[2]) > len(marks[0])


def test_what_is_ahead_is_left_free() -> None:
    whole, half = (plotted(FALLING[:10], width=60, height=4, last=last)[3] for last in (10, 20))
    assert len(half) < len(whole)
    assert plotted(FALLING[:10], width=60, height=4, last=20)[4].split() == ["1", "20"]


@pytest.mark.parametrize("points", [[(5, 1.0)], [(1, 2.0), (2, 2.0)], [(1, 1e300), (2, -1e300)], [(1, 0.0)]])
def test_odd_curves_are_drawn(points: list[tuple[float, float]]) -> None:
    lines = plotted(points, width=20, height=4)
    assert len(lines) == 5
    assert any("⠀" < letter <= "⣿" for letter in "".join(lines))
