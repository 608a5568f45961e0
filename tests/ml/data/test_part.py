"""Rows held out of those to learn from."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.ml.data.part import parted
from forge.ml.data.source import RowSource, place_of
from tests.ml.data.test_source import Numbered


@given(st.floats(1e-4, 0.5), st.integers(0, 2000))
def test_every_row_is_in_one_part_and_found_by_its_number_in_it(share: float, rows: int) -> None:
    left, held = parted(range(rows), share)
    assert sorted([*left, *held]) == list(range(rows))
    for part in (left, held):
        own = list(part)
        places = [0, len(own) // 3, len(own)]
        assert [list(part.rows_from(place)) for place in places] == [own[place:] for place in places]
        assert [part.place(place) for place in range(len(own))] == [f"row {row} of all" for row in own]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 1 / 7, 0.3, 0.45, 0.5])
def test_a_share_is_exact_on_the_whole_and_spread_evenly(share: float) -> None:
    _, held = parted(range(10_000), share)
    found = list(held)
    assert len(found) == pytest.approx(10_000 * share, abs=1)
    for begin in range(0, 10_000, 1000):
        assert sum(begin <= row < begin + 1000 for row in found) == pytest.approx(1000 * share, abs=2)
    gaps = {after - before for before, after in pairwise(found)}
    assert len(gaps) > 1, "rows that come at a beat would be held out by the kind that stands there"


def test_the_rows_that_are_there_stay_on_their_side_when_the_file_grows() -> None:
    short, long = ([list(part) for part in parted(range(rows), 0.1)] for rows in (500, 900))
    assert [part[: len(own)] for part, own in zip(long, short, strict=True)] == short


def test_a_whole_number_takes_the_first_rows_also_of_a_stream() -> None:
    left, held = parted(Numbered(7), 3)
    assert [row["n"] for row in held] == [0, 1, 2]
    assert [row["n"] for row in left] == [3, 4, 5, 6]
    assert [row["n"] for row in left.rows_from(2)] == [5, 6]
    assert (left.streaming, held.streaming) == (True, False)
    assert (place_of(left, 0), place_of(held, 2)) == ("number 3", "number 2")
    assert list(parted(Numbered(2), 5)[0]) == []


def test_parts_know_themselves_apart() -> None:
    prints = [part.fingerprint() for wanted in (0.1, 0.2, 3) for part in parted(["a", "b"], wanted)]
    assert len(set(prints)) == 6
    assert all(isinstance(part, RowSource) for part in parted(["a"], 1))
    assert [part.name for part in parted(Numbered(9), 3)] == [
        "the numbers behind the first 3 rows",
        "the first 3 rows of the numbers",
    ]
    assert [part.name for part in parted(["a"], 0.1)] == ["the rows", "a share of 0.1 of the rows"]


@pytest.mark.parametrize("wanted", [0, -1, 0.6, 1.5, True, float("nan"), float("inf"), "half"])
def test_what_is_no_share_and_no_number_of_rows_is_refused(wanted: float | str) -> None:
    with pytest.raises(ValueError, match=r"a share of at most 0\.5 .* or a whole number of them, not "):
        parted(["a"], wanted)


def test_a_share_of_a_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="a share of a stream has no end: give a whole number"):
        parted(Numbered(9), 0.1)
