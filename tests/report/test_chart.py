from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

import pytest

from forge.report.chart import ChartLine, chart, smoothed, ticks

POINTS = [(float(step), math.sin(step / 50) + 2) for step in range(5000)]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (6.54, 8.33, [6.5, 7, 7.5, 8, 8.5]),
        (0, 0.001, [0, 0.0002, 0.0004, 0.0006, 0.0008, 0.001]),
        (5, 5, [4.4, 4.6, 4.8, 5, 5.2, 5.4, 5.6]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_hold_all_values(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_hold_whatever_comes() -> None:
    for exponent in range(-12, 13):
        for low in (0.0, 1.37 * 10**exponent, -2.9 * 10**exponent):
            found = ticks(low, low + 7.7 * 10**exponent)
            assert found[0] <= low + 1e-6 * 10**exponent
            assert found[-1] >= low + 7.7 * 10**exponent * 0.999
            assert 2 <= len(found) <= 8


def test_a_chart_is_well_formed_small_and_holds_no_colour_of_its_own() -> None:
    text = chart("A < B", [ChartLine("a <b>", POINTS), ChartLine("c", POINTS[:9], "b")], marks=[(3, 'set "x"')])
    tree = ET.fromstring(text)  # noqa: S314 - our own text
    assert len(text) < 40_000
    assert not re.search(r"#[0-9a-f]{3}|style=|fill=|stroke=", text)
    titles = [one.text for one in tree.iter("title")]
    assert 'set "x"' in titles
    assert "a <b>" in titles
    assert len(list(tree.iter("circle"))) == 9


def test_every_point_is_inside() -> None:
    text = chart("x", [ChartLine("a", [(0, -5), (10, 17), (20, 3)])], zero=True)
    places = [tuple(map(float, pair.split(","))) for pair in re.findall(r"[\d.]+,[\d.]+", text)]
    assert len(places) == 3
    assert all(0 <= x <= 560 and 0 <= y <= 230 for x, y in places)


def test_without_points_there_is_no_chart() -> None:
    assert chart("x", []) == chart("x", [ChartLine("a", [])]) == ""
    assert "<circle" in chart("x", [ChartLine("a", [(1, 1)])])


def test_a_long_line_keeps_its_extremes() -> None:
    points = [*POINTS[:2500], (2500.0, 99.0), *POINTS[2501:]]
    assert 'points="' in chart("x", [ChartLine("a", points)])
    assert ">100<" in chart("x", [ChartLine("a", points)])


def test_a_smooth_curve_has_the_same_steps() -> None:
    jagged = [(float(step), float(step % 2)) for step in range(1000)]
    found = smoothed(jagged)
    assert [step for step, _ in found] == [step for step, _ in jagged]
    assert all(0.4 < value < 0.6 for _, value in found[20:-20])
    assert (found[0], found[-1]) == (jagged[0], jagged[-1])
    assert smoothed(jagged[:5]) == jagged[:5]


def test_a_beginning_that_is_far_above_lies_outside() -> None:
    falling = [(float(step), 2 + 8 * math.exp(-step)) for step in range(200)]
    whole, cut = (chart("x", [ChartLine("a", falling)], cut=cut) for cut in (False, True))
    assert ">10<" in whole
    assert ">10<" not in cut
    assert ">cut off above: up to 10 at step 0<" in cut
    assert "cut off" not in whole
    assert ET.fromstring(cut).find(".//svg") is not None  # noqa: S314 - our own text
    even = [(float(step), float(step)) for step in range(200)]
    assert chart("x", [ChartLine("a", even)], cut=True) == chart("x", [ChartLine("a", even)])
    short = [(1.0, 9.0), (2.0, 2.0), (3.0, 2.1)]  # has no beginning yet
    assert chart("x", [ChartLine("a", short)], cut=True) == chart("x", [ChartLine("a", short)])
