from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.layout import Layout
from forge.plan.pipeline import StageCost, bubble_share
from forge.plan.waiting import computed_again, played, splits, stage_costs, waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup

FOLDED: Any = {"pp": 2, "pp_schedule": "zbv", "microbatches": 4, "stages_per_rank": 2}


def test_the_head_is_a_part_of_the_last_stage(setup_for: Callable[..., TrainingSetup]) -> None:
    """Its gradients are made on the way forward."""
    first, last = stage_costs(setup_for(Layout(pp=2, pp_schedule="1f1b", microbatches=4)))
    assert (first.inputs + first.weights, first.weights) == (2 * first.forward, 0)
    assert last.forward > last.inputs / 2
    whole = sum(first) + sum(last)
    frozen = [
        sum(one) for one in stage_costs(setup_for(Layout(pp=2, pp_schedule="1f1b", microbatches=4), adapter_rank=8))
    ]
    assert sum(frozen) == pytest.approx(whole * 2 / 3)


def test_layers_that_are_computed_again_are_computed_in_the_backward_pass(
    setup_for: Callable[..., TrainingSetup],
) -> None:
    layout = Layout(pp=2, pp_schedule="1f1b", microbatches=4)
    plain, again = (stage_costs(setup_for(layout, checkpointing=how))[0] for how in (False, True))
    assert again.inputs == pytest.approx(plain.inputs + plain.forward)
    setup = setup_for(layout, checkpointing="selective")
    assert computed_again(setup, range(2)) == pytest.approx(0.4)
    assert computed_again(setup_for(layout, checkpointing=2), range(4)) == 2


def test_halves_are_made_where_they_fill_what_is_idle(setup_for: Callable[..., TrainingSetup]) -> None:
    small = {"num_hidden_layers": 16, "vocab_size": 512}
    halves = setup_for(Layout(**FOLDED), small)
    assert splits(halves)
    costs = stage_costs(halves)
    assert costs[0].inputs == 0  # nobody asks for them
    assert costs[1].inputs == costs[1].weights
    for whole in (
        setup_for(Layout(**FOLDED), small, checkpointing=True),
        setup_for(Layout(**FOLDED, dp_shard=2, zero_stage=2), small),
    ):
        assert not splits(whole)
        assert all(cost.weights == 0 for cost in stage_costs(whole))
        assert waits(whole) > waits(halves)


def test_all_batches_of_a_step_go_through_the_pipeline_as_one(setup_for: Callable[..., TrainingSetup]) -> None:
    layout = Layout(pp=2, pp_schedule="gpipe", microbatches=2)
    assert waits(setup_for(layout, accumulation=4)) < waits(setup_for(layout))
    assert [len(row) for row in played(setup_for(layout, accumulation=4))] == [16, 16]


def test_stages_that_are_named_wait_for_one_another(setup_for: Callable[..., TrainingSetup]) -> None:
    pipeline: Any = {"pp": 2, "pp_schedule": "1f1b", "microbatches": 8}
    small = {"vocab_size": 8}
    even, uneven = (setup_for(Layout(**pipeline, stage_layers=sizes), small) for sizes in ((4, 4), (2, 6)))
    assert waits(even) == pytest.approx(1 / 9, abs=1e-3)
    assert waits(uneven) == pytest.approx(1 - (8 * 2 + 8 * 6) / 2 / (8 * 6 + 2), abs=1e-3)


def test_a_stage_that_takes_longer_lets_the_others_wait() -> None:
    layout = Layout(pp=2, pp_schedule="1f1b", microbatches=8)
    assert bubble_share(layout, (StageCost(), StageCost())) == pytest.approx(1 / 9)
    # The longer one is at work all the time but for a first pass and a last one of the other.
    assert bubble_share(layout, (StageCost(), StageCost(2, 2, 2))) == pytest.approx(
        1 - (8 * 3 + 8 * 6) / 2 / (8 * 6 + 3)
    )
