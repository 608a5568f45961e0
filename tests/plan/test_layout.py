"""Layouts as values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.plan.layout import Layout

PIPELINE = {"pp": 2, "pp_schedule": "1f1b", "microbatches": 4}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tp": 0}, "tp is at least 1"),
        ({"pp": "two"}, "pp is a whole number"),
        ({"cp": -1}, "cp is at least 1"),
        ({"dp_shard": 0}, "-1 for all processes that remain"),
        ({"dp_shard": -1, "dp_replicate": -1, "zero_stage": 3}, "only one of"),
        ({"pp": 2, "microbatches": 4}, "needs a pp_schedule, one of gpipe"),
        ({"pp": 2, "pp_schedule": "2f2b", "microbatches": 4}, "not 2f2b"),
        ({"pp_schedule": "1f1b"}, "set pp above 1"),
        ({**PIPELINE, "stages_per_rank": 2}, "exactly 1 stage on each rank, not 2"),
        ({**PIPELINE, "pp_schedule": "interleaved_1f1b"}, "2 or more stages on each rank, not 1"),
        ({**PIPELINE, "pp_schedule": "zbv", "stages_per_rank": 3}, "exactly 2 stages on each rank"),
        ({**PIPELINE, "microbatches": 1}, "needs 2 or more"),
        ({**PIPELINE, "pp_schedule": "dualpipev", "stages_per_rank": 2, "microbatches": 3}, "needs 4 or more"),
        ({"stage_layers": [4, 4]}, "belongs to a pipeline"),
        ({**PIPELINE, "stage_layers": [4]}, r"stage_layers=\[4\] names 1 stage, and pp=2 has 2"),
        (
            {**PIPELINE, "pp_schedule": "zbv", "stages_per_rank": 2, "stage_layers": [4, 4]},
            "names 2 stages, and pp=2 with 2 stages each has 4",
        ),
        ({**PIPELINE, "stage_layers": [8, 0]}, r"\[8, 0\] leaves a stage without a layer"),
        ({**PIPELINE, "stage_layers": [8, -1]}, "leaves a stage without a layer"),
        ({**PIPELINE, "stage_layers": [8, "all"]}, "list of whole numbers, or null"),
        ({**PIPELINE, "stage_layers": [True, 1]}, "list of whole numbers, or null"),
        ({**PIPELINE, "stage_layers": 8}, "list of whole numbers, or null, not 8"),
        ({"dp_shard": 2, "zero_stage": 0}, "zero_stage from 1 to 3"),
        ({"zero_stage": 3}, "divides nothing"),
        ({"zero_stage": 4, "dp_shard": 2}, "0, 1, 2 or 3"),
        ({"zero_stage": True, "dp_shard": 2}, "0, 1, 2 or 3, not True"),
        ({"reshard_after_forward": "maybe"}, "reshard_after_forward is true or false, not 'maybe'"),
        ({"sequence_parallel": 1, "tp": 2}, "sequence_parallel is true or false, not 1"),
        ({"cpu_offload": True}, "needs zero_stage=3"),
        ({"sequence_parallel": True}, "set tp above 1"),
        ({"loss_parallel": True}, "set tp above 1"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_with_the_reason(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layout(**wrong)


@pytest.mark.parametrize(
    ("values", "stage"),
    [({}, 0), ({"dp_shard": 4, "tp": 2}, 3), ({"dp_shard": -1}, 3), ({"dp_shard": 2, "zero_stage": 1}, 1)],
)
def test_what_is_shared_is_all_where_nothing_is_said(values: dict[str, Any], stage: int) -> None:
    layout = Layout(**values)
    assert layout.zero_stage == stage
    assert (layout.shards_state, layout.shards_gradients, layout.shards_weights) == (stage > 0, stage > 1, stage > 2)


def test_the_layers_of_stages_are_values_as_all_others() -> None:
    layout = Layout(**PIPELINE, stage_layers=[3, 5])  # type: ignore[arg-type]
    assert layout.stage_layers == (3, 5)
    assert hash(layout) == hash(layout.for_ranks(2))
    assert Layout(pp=2, pp_schedule="zbv", microbatches=4, stages_per_rank=2, stage_layers=(1, 2, 3, 4)).stages == 4


@given(degrees=st.tuples(*[st.integers(1, 4)] * 4), rest=st.integers(1, 16))
def test_the_rest_of_the_processes_goes_to_the_degree_that_is_open(degrees: tuple[int, ...], rest: int) -> None:
    pp, replicate, cp, tp = degrees
    pipeline = {"pp_schedule": "gpipe", "microbatches": pp} if pp > 1 else {}
    layout = Layout(pp=pp, dp_replicate=replicate, dp_shard=-1, cp=cp, tp=tp, zero_stage=3, **pipeline)
    if rest > 1:
        assert layout.for_ranks(pp * replicate * cp * tp * rest).dp_shard == rest


def test_a_share_of_one_process_divides_nothing() -> None:
    with pytest.raises(ValueError, match="divides nothing"):
        Layout(dp_shard=-1, zero_stage=3).for_ranks(1)


@pytest.mark.parametrize(
    ("layout", "ranks", "message"),
    [
        (Layout(tp=2), 4, "tp=2 does not fit 4 processes: it needs exactly 2"),
        (Layout(tp=2, dp_shard=-1, zero_stage=3), 3, "it needs a multiple of 2"),
        (Layout(tp=4, dp_replicate=-1), 2, "it needs a multiple of 4"),
        (Layout(), 2, "one process does not fit 2 processes: it needs exactly 1"),
    ],
)
def test_a_number_of_processes_that_does_not_fit_is_refused(layout: Layout, ranks: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layout.for_ranks(ranks)


def test_stages_go_round_or_fold_back() -> None:
    several = Layout(pp=2, pp_schedule="interleaved_1f1b", microbatches=4, stages_per_rank=2)
    assert [several.stages_of(place) for place in range(2)] == [[0, 2], [1, 3]]
    folded = Layout(pp=2, pp_schedule="zbv", microbatches=4, stages_per_rank=2)
    assert [folded.stages_of(place) for place in range(2)] == [[0, 3], [1, 2]]
