from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from forge.ml.data.corpus import TextCorpus
from forge.ml.data.sets import prepared_sets
from forge.ml.data.stats import drawn_figures, figures_json, figures_of, figures_svg

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def figures(byte_tokenizer: Callable[..., Any]) -> Any:
    texts = ("abc", "abcdefghi", "", "x" * 39)
    corpus = TextCorpus(train=texts, max_length=20, packing="best_fit", overflow="truncate")
    (found,) = prepared_sets(corpus, byte_tokenizer())
    return figures_of(found, byte_tokenizer())


def test_the_figures_are_those_of_the_rows(figures: Any) -> None:
    assert (figures.name, figures.rows, figures.examples, figures.sequences) == ("train", 4, 3, 2)
    assert figures.tokens == 4 + 10 + 20
    assert figures.lengths == {"min": 4, "median": 10, "p90": 40, "p99": 40, "max": 40}
    assert figures.filled == pytest.approx(34 / 40)
    assert figures.remarks == [
        "1 of 4 rows not used: an empty document; the first is row 2",
        "1 of 4 rows used in part: cut to 20 tokens; the first is row 3 (40 tokens)",
    ]


def test_the_terminal_gets_figures_and_bars(figures: Any) -> None:
    drawn = drawn_figures(figures, width=80, colour=False)
    assert "rows      4, 3 used, 1 not used" in drawn
    assert "lengths   min 4   median 10   p90 40   p99 40   max 40" in drawn
    assert "sequences 2 of at most 20 tokens, packed (best_fit): 85.00% filled" in drawn
    assert "  max_length 20" in drawn
    assert all(len(line) <= 80 for line in drawn.splitlines() if "█" in line)
    assert "\x1b[34m█" in drawn_figures(figures, width=80, colour=True)


def test_programs_get_the_figures(figures: Any) -> None:
    found = json.loads(json.dumps(figures_json(figures)))
    assert found["tokens"] == 34
    assert found["bins"][0] == {"start": 4, "stop": 6, "count": 1}


def test_the_picture_has_a_chart_for_each_set(figures: Any) -> None:
    assert figures_svg([figures, figures]).count(">train</text>") == 2


def test_unpacked_rows_say_how_much_room_they_leave(byte_tokenizer: Callable[..., Any]) -> None:
    corpus = TextCorpus(train=("abc",), max_length=8, packing="none", overflow="truncate")
    (found,) = prepared_sets(corpus, byte_tokenizer())
    assert "not packed: they fill 50.0% of that room" in drawn_figures(
        figures_of(found, byte_tokenizer()), width=80, colour=False
    )
