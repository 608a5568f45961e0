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
    kinds = {kind for kind, _, _ in done}
    assert kinds in ({"F", "B"}, {"F", "I", "W"})
    assert len(done) == sum(map(len, rows)) == len(kinds) * (last + 1) * layout.microbatches
    back = "B" if "B" in kinds else "I"
    for (kind, stage, microbatch), work in done.items():
        if kind == "F" and stage:
            assert done["F", stage - 1, microbatch].end <= work.start
        if kind == back:
            before = done[back, stage + 1, microbatch] if stage < last else done["F", stage, microbatch]
            assert before.end <= work.start
        if kind == "W":
            assert done["I", stage, microbatch].end <= work.start
    for row in rows:
        assert all(one.end <= other.start for one, other in pairwise(row))


@pytest.mark.parametrize(
    "layout", LAYOUTS, ids=lambda layout: f"{layout.pp_schedule}-{layout.pp}-{layout.microbatches}"
)
def test_the_formula_is_near_what_is_played(layout: Layout) -> None:
    _, share = bubble_formula(layout)
    assert bubble_share(layout) == pytest.approx(
        share, abs=0.12 if layout.pp_schedule in ("zbv", "dualpipev") else 0.09
    )


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


@pytest.mark.torch
@pytest.mark.parametrize("layout", [one for one in LAYOUTS if "interleaved" in str(one.pp_schedule)], ids=str)
def test_the_order_is_that_of_torch(layout: Layout) -> None:
    from torch.distributed.pipelining import schedules

    kind = {"interleaved_1f1b": "ScheduleInterleaved1F1B", "interleaved_zero_bubble": "ScheduleInterleavedZeroBubble"}
    made: Any = object.__new__(getattr(schedules, kind[str(layout.pp_schedule)]))
    made.n_local_stages, made.pp_group_size = layout.stages_per_rank, layout.pp
    made._n_microbatches, made.number_of_rounds = layout.microbatches, max(1, layout.microbatches // layout.pp)
    made.microbatches_per_round = layout.microbatches // made.number_of_rounds
    for place, row in enumerate(timeline(layout)):
        theirs = [action for action in made._calculate_single_rank_operations(place) if action is not None]
        assert [(work.kind, work.stage, work.microbatch) for work in row] == [
            (KINDS[action.computation_type.name], action.stage_index, action.microbatch_index) for action in theirs
        ]
