"""The orders that fold a pipeline into a V; tests/plan/test_pipeline.py holds them against torch's own."""

from __future__ import annotations

from collections import Counter

import pytest

from forge.plan.folded import dualpipev_order, zbv_order


@pytest.mark.parametrize("microbatches", [1, 3, 8])
def test_zero_bubble_does_everything_once_with_any_number_of_microbatches(microbatches: int) -> None:
    done = Counter(zbv_order(3, microbatches, 1))
    assert set(done.values()) == {1}
    assert Counter(kind for kind, _, _ in done) == dict.fromkeys("FIW", 2 * microbatches)
    assert {stage for _, stage, _ in done} == {1, 4}


@pytest.mark.parametrize(("processes", "place"), [(2, 0), (2, 1), (4, 2), (5, 4)])
def test_dualpipe_goes_back_through_each_stage_whole_or_in_halves(processes: int, place: int) -> None:
    microbatches = 2 * processes
    done = Counter(dualpipev_order(processes, microbatches, place))
    assert set(done.values()) == {1}
    counts = Counter(kind for kind, _, _ in done)
    assert counts["F"] == counts["B"] + counts["I"] == 2 * microbatches
    assert counts["I"] == counts["W"]
