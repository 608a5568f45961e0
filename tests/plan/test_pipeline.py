"""Schedules of a pipeline: everything is done once, in an order that can be, and as torch does it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from forge.plan.layout import Layout
from forge.plan.pipeline import bubble_formula, bubble_share, in_flight, timeline

KINDS = {"FORWARD": "F", "FULL_BACKWARD": "B", "BACKWARD_INPUT": "I", "BACKWARD_WEIGHT": "W"}
LAYOUTS = [
    Layout(pp=pp, pp_schedule=schedule, microbatches=microbatches, stages_per_rank=stages)  # type: ignore[arg-type]
    for pp, microbatches in ((2, 4), (2, 8), (4, 8), (4, 16), (3, 6))
    for schedule, stages in (
        *(("gpipe", 1), ("1f1b", 1), ("looped_bfs", 2), ("interleaved_1f1b", 2), ("interleaved_1f1b", 3)),
        *(("interleaved_zero_bubble", 2), ("zbv", 2), ("dualpipev", 2)),
    )
]


@pytest.mark.parametrize(
    "layout", LAYOUTS, ids=lambda layout: f"{layout.pp_schedule}-{layout.pp}-{layout.microbatches}"
)
def test_everything_is_done_once_and_in_order(layout: Layout) -> None:
    rows = timeline(layout)
    done = {(work.kind, work.stage, work.microbatch): work for row in rows for work in row}
    last = layout.pp * layout.stages_per_rank - 1
    assert len(done) == sum(map(len, rows))
    for stage in range(last + 1):
        for microbatch in range(layout.microbatches):
            assert ("F", stage, microbatch) in done
            halves = [(kind, stage, microbatch) in done for kind in "BIW"]
            assert halves in ([True, False, False], [False, True, True])
    for (kind, stage, microbatch), work in done.items():
        if kind == "F" and stage:
            assert done["F", stage - 1, microbatch].end <= work.start
        if kind in "BI":
            later = [done[each, stage + 1, microbatch] for each in "BI" if (each, stage + 1, microbatch) in done]
            before = later[0] if stage < last else done["F", stage, microbatch]
            assert before.end <= work.start
        if kind == "W":
            assert done["I", stage, microbatch].end <= work.start
    for row in rows:
        assert all(one.end <= other.start for one, other in pairwise(row))


@pytest.mark.parametrize(
    "layout", LAYOUTS, ids=lambda layout: f"{layout.pp_schedule}-{layout.pp}-{layout.microbatches}"
)
def test_the_formula_is_what_is_played(layout: Layout) -> None:
    _, share = bubble_formula(layout)
    assert bubble_share(layout) == pytest.approx(share)


@pytest.mark.parametrize(
    ("schedule", "formula", "share"),
    [("gpipe", "(p - 1) / (m + p - 1)", 3 / 11), ("1f1b", "(p - 1) / (m + p - 1)", 3 / 11)],
)
def test_the_oldest_schedules_wait_exactly_so_long(schedule: Any, formula: str, share: float) -> None:
    layout = Layout(pp=4, pp_schedule=schedule, microbatches=8)
    assert bubble_formula(layout) == (formula, share)
    assert bubble_share(layout) == pytest.approx(share)


def test_one_process_never_waits() -> None:
    assert bubble_formula(Layout()) == ("no pipeline", 0.0)
    assert bubble_share(Layout()) == 0
    assert in_flight(Layout()) == [[1]]


def test_how_many_microbatches_are_held() -> None:
    assert in_flight(Layout(pp=4, pp_schedule="gpipe", microbatches=8)) == [[8]] * 4
    assert in_flight(Layout(pp=4, pp_schedule="1f1b", microbatches=8)) == [[4], [3], [2], [1]]


OF_TORCH = {
    "looped_bfs": "ScheduleLoopedBFS",
    "interleaved_1f1b": "ScheduleInterleaved1F1B",
    "interleaved_zero_bubble": "ScheduleInterleavedZeroBubble",
    "zbv": "ScheduleZBVZeroBubble",
    "dualpipev": "ScheduleDualPipeV",
}


@pytest.mark.torch
@pytest.mark.parametrize(
    "layout",
    [one for one in LAYOUTS if one.pp_schedule in OF_TORCH],
    ids=lambda layout: f"{layout.pp_schedule}-{layout.pp}-{layout.microbatches}-{layout.stages_per_rank}",
)
def test_the_order_is_that_of_torch(layout: Layout) -> None:
    from torch.distributed.pipelining import schedules

    made: Any = object.__new__(getattr(schedules, OF_TORCH[str(layout.pp_schedule)]))
    made.n_local_stages, made.pp_group_size = layout.stages_per_rank, layout.pp
    made._num_stages, made._stages = layout.pp * layout.stages_per_rank, [None] * layout.stages_per_rank
    made.num_stages = made._num_stages
    made._n_microbatches, made.number_of_rounds = layout.microbatches, max(1, layout.microbatches // layout.pp)
    made.microbatches_per_round = layout.microbatches // made.number_of_rounds
    for place, row in enumerate(timeline(layout)):
        theirs: list[tuple[str, int, int]] = []
        for action in made._calculate_single_rank_operations(place):
            if action is not None:
                parts = action.sub_actions or (action,)
                theirs += [(KINDS[one.computation_type.name], one.stage_index, one.microbatch_index) for one in parts]
        assert [(work.kind, work.stage, work.microbatch) for work in row] == theirs
