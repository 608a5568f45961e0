from __future__ import annotations

import itertools
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.ml.data.histogram import Bin, bars, binned, picture_of


@given(values=st.lists(st.integers(0, 100_000), max_size=200))
def test_every_value_is_in_one_bin(values: list[int]) -> None:
    bins = binned(np.array(values, dtype=np.int64))
    assert sum(each.count for each in bins) == len(values)
    assert len(bins) <= 26
    assert all(one.stop == other.start for one, other in itertools.pairwise(bins))
    for each in bins:
        assert each.count == sum(map(each.holds, values))


def test_bins_have_round_widths_and_labels() -> None:
    bins = binned(np.arange(24, 562))
    assert (bins[0].label, bins[1].label, bins[-1].label) == ("0-24", "25-49", "550-574")
    assert [each.label for each in binned(np.array([3, 4, 4]))] == ["3", "4"]


def test_a_few_values_far_out_share_an_open_bin() -> None:
    bins = binned(np.array([*range(100)] * 10 + [5000] * 9))
    assert (bins[-1].label, bins[-1].count) == ("100 +", 9)
    assert bins[-1].stop is None


def test_bars_are_as_long_as_their_counts() -> None:
    drawn = bars([Bin(0, 10, 80), Bin(10, 20, 40), Bin(20, 30, 0), Bin(30, None, 1)], 30)
    assert [count for _, _, count in drawn] == [" 80", " 40", "·", " 1"]
    full, half, none, least = (bar for _, bar, _ in drawn)
    assert len(full) == 2 * len(half)
    assert (none, least) == ("", "▎")
    assert [label for label, _, _ in drawn] == ["  0-9  ", "10-19  ", "20-29  ", " 30 +  "]
    assert [count for _, _, count in bars([Bin(0, 10, 1), Bin(10, 20, 1)], 60, limit=10)] == [" 1", " 1  max_length 10"]
    assert bars([], 40) == []


@pytest.mark.parametrize("limit", [None, 15, 500])
def test_the_picture_is_an_svg_without_scripts_for_light_and_dark(limit: int | None) -> None:
    bins = [Bin(0, 10, 80), Bin(10, 20, 40), Bin(20, None, 1)]
    drawn = picture_of([("<train>", ["rows: 121 & more"], bins, limit), ("empty", [], [], limit)])
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert kinds <= {"svg", "style", "rect", "g", "text", "line", "title"}
    texts = [element.text for element in root.iter() if element.text]
    assert {"<train>", "rows: 121 & more", "0-9 tokens: 80", "20 +"} <= set(texts)
    assert ("max_length 15" in texts) == (limit == 15)
    assert "prefers-color-scheme: dark" in drawn
    assert sum(element.get("class") == "bar" for element in root.iter()) == 3
