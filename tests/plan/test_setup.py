from __future__ import annotations

from typing import TYPE_CHECKING

from forge.plan.layout import Layout
from forge.plan.setup import element_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup


def test_tokens_are_divided_by_microbatches_and_pieces_of_a_sequence(setup_for: Callable[..., TrainingSetup]) -> None:
    assert setup_for().tokens == 4 * 512
    pipeline = setup_for(Layout(pp=2, pp_schedule="1f1b", microbatches=4, cp=2), accumulation=3)
    assert (pipeline.tokens, pipeline.passes) == (256, 12)
    assert pipeline.tokens_per_step == 4 * 512 * 3


def test_copies_and_shares_take_rows_of_their_own(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(Layout(dp_replicate=2, dp_shard=3, zero_stage=2, tp=2))
    assert setup.replicas == 6
    assert setup.tokens_per_step == 6 * 4 * 512


def test_casting_is_computing_in_another_type(setup_for: Callable[..., TrainingSetup]) -> None:
    assert not setup_for().cast
    assert (setup_for(precision="bf16").cast, setup_for(precision="bf16").compute_size) == (True, 2)
    assert not setup_for(weights="bfloat16").cast
    assert element_size("float16") == 2


def test_stages_are_balanced_by_what_they_cost(setup_for: Callable[..., TrainingSetup]) -> None:
    folded = setup_for(Layout(pp=2, pp_schedule="zbv", microbatches=4, stages_per_rank=2))
    assert [len(stage) for stage in folded.stages] == [3, 2, 2, 1]  # the head costs as much as some layers


def test_stages_have_the_layers_that_the_layout_names(setup_for: Callable[..., TrainingSetup]) -> None:
    def sizes(*named: int) -> list[int]:
        layout = Layout(pp=2, pp_schedule="zbv", microbatches=4, stages_per_rank=2, stage_layers=named)
        return [len(stage) for stage in setup_for(layout).stages]

    assert sizes(1, 2, 4, 1) == [1, 2, 4, 1]
    assert sizes(1, 2, 4, 2) == [3, 2, 2, 1]  # of another model, which is refused: planned as if nothing were said
