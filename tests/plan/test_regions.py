from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.layout import Layout
from forge.plan.regions import RegionTalk, layer_regions

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup

HIDDEN, HEADS, FFN = 512, 512, 1408
EXPERTS: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
}


def talk(setup_for: Callable[..., TrainingSetup], pieces: bool, model: dict[str, Any], **more: Any) -> Any:  # noqa: FBT001 - as asked
    return layer_regions(setup_for(Layout(tp=2, sequence_parallel=pieces), model, **more), 0)


@pytest.mark.parametrize(("precision", "size"), [("no", 4), ("bf16", 2)])
def test_divided_matrices_tell_hidden_states_alone(
    setup_for: Callable[..., TrainingSetup], precision: str, size: int
) -> None:
    whole = RegionTalk(0, 2 * size * HIDDEN, 2 * 4 * HIDDEN)
    assert talk(setup_for, False, {}, precision=precision) == (whole, whole)
    pieces = RegionTalk(size * HIDDEN, size * HIDDEN, (4 + size) * HIDDEN)
    assert talk(setup_for, True, {}, precision=precision) == (pieces, pieces)


def test_an_answer_that_cannot_be_divided_is_made_whole(setup_for: Callable[..., TrainingSetup]) -> None:
    attention, network = talk(setup_for, False, {"model_type": "phi3"})
    assert attention == RegionTalk(4 * 3 * HEADS, 8 * HIDDEN, 8 * HIDDEN + 4 * HEADS)
    assert network == RegionTalk(4 * 2 * FFN, 8 * HIDDEN, 8 * HIDDEN + 4 * FFN)
    more = talk(setup_for, True, {"model_type": "phi3"})
    assert [one.before - other.before for one, other in zip(more, (attention, network), strict=True)] == [
        4 * HIDDEN
    ] * 2
    attention, network = talk(setup_for, False, {"model_type": "olmo2"})
    # Its norms see all heads, and each of three matrices sums what it changes its input by.
    assert attention == RegionTalk(4 * 3 * HEADS, 8 * HIDDEN, 3 * 8 * HIDDEN + 4 * HEADS)
    assert network.before == 0


def test_experts_are_given_whole_rows(setup_for: Callable[..., TrainingSetup]) -> None:
    attention, network = talk(setup_for, True, EXPERTS)
    assert attention == RegionTalk(4 * HIDDEN, 4 * HIDDEN, 8 * HIDDEN)
    assert network == RegionTalk(4 * HIDDEN, 8 * HIDDEN, 12 * HIDDEN + 2 * 4 * 2)
    # They answer in the type of the weights.
    assert talk(setup_for, True, EXPERTS, precision="bf16")[1] == RegionTalk(4 * HIDDEN, 8 * HIDDEN, 12 * HIDDEN + 8)
    assert talk(setup_for, False, EXPERTS)[1] == RegionTalk(0, 8 * HIDDEN, 8 * HIDDEN + 2 * 4 * 2)
