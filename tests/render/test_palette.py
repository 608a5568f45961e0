from __future__ import annotations

import itertools
import os
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.render.palette import HUES, style_sheet

sys.path.insert(0, os.path.dirname(__file__))
from contrast import LEAST, contrast

DARK = "@media (prefers-color-scheme: dark) {"
RULE = re.compile(r"([^{}]+) \{ ([^{}]*) \}")
WASHES = (".wash-added", ".wash-removed", ".wash-changed")
# Each text with what may lie behind it, wherever it stands.
ON = {
    ".caption": (".page",),
    ".count": (".page",),
    ".value-left": (".page",),
    ".key": (".page", ".card", *WASHES),
    ".value": (".card", *WASHES),
    ".row-missing text": (".page", ".card", *WASHES),
    ".title": (".head",),
    ".name": (".head",),
    ".pill-text": (".pill",),
    ".to": (".card", *WASHES),
}
TINTED = {**{text: ON[text] for text in (".title", ".name", ".pill-text", ".to")}, ".group": (".box",)}

Fills = dict[str, str]


def sides() -> dict[str, Fills]:
    """The fill of each selector on a light page and on a dark one."""
    light, _, dark = style_sheet(range(len(HUES))).partition(DARK)
    return {"light": fills(light), "dark": fills(dark)}


def fills(css: str) -> Fills:
    found: Fills = {}
    for selectors, declarations in RULE.findall(css):
        for color in re.findall(r"(?<![\w-])fill: (#[0-9a-f]{6})", declarations):
            found |= dict.fromkeys(map(str.strip, selectors.split(",")), color)
    return found


def test_the_ratio_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("side", ["light", "dark"])
def test_text_can_be_read_on_what_lies_behind_it(side: str) -> None:
    found = sides()[side]
    poor = [
        f"{text} on {ground}: {contrast(found[text], found[ground]):.2f}"
        for text, grounds in ON.items()
        for ground in grounds
        if contrast(found[text], found[ground]) < LEAST
    ]
    assert poor == []


@pytest.mark.parametrize("side", ["light", "dark"])
@pytest.mark.parametrize("number", range(len(HUES)))
def test_text_can_be_read_in_the_colours_of_each_group(side: str, number: int) -> None:
    found = sides()[side]

    def color(selector: str) -> str:
        return found.get(f".g{number} {selector}") or found[selector]

    pairs = [(text, ground) for text, grounds in TINTED.items() for ground in grounds]
    poor = [
        f"{text} on {ground}: {contrast(color(text), color(ground)):.2f}"
        for text, ground in pairs
        if contrast(color(text), color(ground)) < LEAST
    ]
    assert poor == []


def test_a_reference_has_the_same_colour_on_its_own_and_in_its_group() -> None:
    for found in sides().values():
        assert all(found[f".g{number}.to"] == found[f".g{number} .to"] for number in range(len(HUES)))


def test_the_rules_of_an_element_win_over_those_of_its_card() -> None:
    light = style_sheet([3, 1]).partition(DARK)[0]
    assert light.rindex(".g3 ") < light.index(".g1.")


def test_neighbouring_groups_are_told_apart() -> None:
    assert len(set(HUES)) == len(HUES)
    assert all(0 <= hue < 360 for hue in HUES)
    turns = [abs(one - other) % 360 for one, other in itertools.pairwise(HUES)]
    assert min(min(turn, 360 - turn) for turn in turns) >= 40


def test_groups_beyond_the_last_hue_begin_again() -> None:
    css = style_sheet([0, len(HUES)])
    assert re.findall(r"\.g0 (.*)", css) == re.findall(rf"\.g{len(HUES)} (.*)", css)


@given(st.lists(st.integers(0, 40), max_size=8))
def test_the_sheet_has_rules_for_the_hues_of_the_picture_and_for_no_others(hues: list[int]) -> None:
    css = style_sheet(hues)
    assert {int(number) for number in re.findall(r"\.g(\d+)", css)} == set(hues)
    assert css == style_sheet(reversed(hues))
    assert css.count("{") == css.count("}")
    assert not re.search(r"[<&@](?!media)|url\(", css)
