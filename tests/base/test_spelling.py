from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.base.spelling import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "candidates", "best"),
    [
        ("modle", ["model", "mode", "optimizer"], "model"),
        ("beta", ["betas", "eps", "lr"], "betas"),
        ("OPTIMIZER", ["optimizer", "operator"], "optimizer"),
        ("adamw", ["optimizer/adamw", "optimizer/sgd"], "optimizer/adamw"),
        ("trch", ["torch", "math"], "torch"),
    ],
)
def test_the_nearest_name_comes_first(word: str, candidates: list[str], best: str) -> None:
    assert nearest(word, candidates)[0] == best
    assert did_you_mean(word, candidates) == f"did you mean {best!r}?"


def test_nothing_is_suggested_when_nothing_is_close() -> None:
    assert nearest("zzz", ["model", "optimizer"]) == []
    assert did_you_mean("zzz", ["model"]) == ""
    assert did_you_mean("zzz", []) == ""


def test_the_number_of_suggestions_is_limited() -> None:
    assert len(nearest("model", [f"model{number}" for number in range(9)], limit=2)) == 2


@given(st.text(), st.lists(st.text()))
def test_suggestions_are_candidates_and_a_candidate_suggests_itself(word: str, candidates: list[str]) -> None:
    assert set(nearest(word, candidates)) <= set(candidates)
    assert nearest(word, [*candidates, word])[0].lower() == word.lower()
