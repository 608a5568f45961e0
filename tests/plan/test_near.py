"""The layouts that could stand in for one."""

from __future__ import annotations

from typing import Any

from forge.plan.layout import Layout
from forge.plan.near import as_override, divisors, layouts_near, mending_lines, override_lines

PIPELINE: dict[str, Any] = {"pp": 2, "pp_schedule": "1f1b", "microbatches": 8}


def test_divisors() -> None:
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert divisors(1) == [1]


def test_lines_say_what_differs() -> None:
    after = Layout(tp=2, sequence_parallel=True)
    assert override_lines(after, Layout()) == "parallel.tp=2 parallel.sequence_parallel=true"
    assert override_lines(Layout(), Layout(**PIPELINE), "p") == "p.pp=1 p.pp_schedule=null p.microbatches=1"


def test_the_nearest_layout_is_itself() -> None:
    assert next(layouts_near(Layout(tp=2, dp_replicate=2), 4)) == Layout(tp=2, dp_replicate=2)


def test_values_that_contradict_one_another_are_mended_by_few_changes() -> None:
    folded = {"pp": 2, "pp_schedule": "zbv", "microbatches": 3, "stages_per_rank": 2}
    assert mending_lines(folded)[0] == "parallel.microbatches=4"
    assert mending_lines({"pp": 2, "pp_schedule": "foo", "microbatches": 2}, "p") == ["p.pp_schedule=1f1b"]
    assert mending_lines({"tp": 1, "loss_parallel": True}) == ["parallel.tp=2", "parallel.loss_parallel=false"]
    assert mending_lines({"dp_shard": 1, "zero_stage": 3}) == ["parallel.dp_shard=-1", "parallel.zero_stage=0"]
    assert mending_lines({"pp": "two"})[-1] == "parallel.pp=1"
    assert mending_lines({"reshard_after_forward": "maybe"}) == ["parallel.reshard_after_forward=true"]
    assert mending_lines({"nosuch": 1}) == []


def test_layers_of_stages_are_mended_and_left_where_they_cannot_stay() -> None:
    three = {**PIPELINE, "stage_layers": [3, 3, 2]}
    assert mending_lines(three) == ["parallel.stage_layers=[4,4]", "parallel.stage_layers=null"]
    assert mending_lines({**PIPELINE, "stage_layers": [0, 8]})[0] == "parallel.stage_layers=[1,7]"
    assert mending_lines({**PIPELINE, "stage_layers": [1, 0]})[0] == "parallel.stage_layers=null"
    assert mending_lines({**PIPELINE, "stage_layers": "all"}) == ["parallel.stage_layers=null"]
    assert mending_lines({"stage_layers": [4, 4]})[0] == "parallel.stage_layers=null"
    named = Layout(**PIPELINE, stage_layers=(3, 5))
    assert next(layouts_near(named, 2)) == named
    assert {one.stage_layers for one in layouts_near(named, 4) if one.pp != 2} == {None}
    assert as_override(named.stage_layers) == "[3,5]"


def test_degrees_that_were_asked_for_are_kept_where_they_can_be() -> None:
    assert mending_lines({"pp": 4, "microbatches": 1}) == [
        "parallel.pp_schedule=1f1b parallel.microbatches=4",
        "parallel.pp_schedule=1f1b parallel.microbatches=8",
        "parallel.pp=1",
    ]
    looped = {"pp": 4, "stages_per_rank": 2}
    assert mending_lines(looped)[0] == "parallel.pp_schedule=interleaved_1f1b parallel.microbatches=4"
    assert mending_lines({"dp_shard": 2, "zero_stage": 0}) == ["parallel.zero_stage=3", "parallel.dp_shard=1"]
