from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.layout import Layout
from forge.plan.traffic import links, traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup


def sent(setup: TrainingSetup, per_node: int = 8) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in traffic(setup, per_node):
        found[one.dimension] = found.get(one.dimension, 0) + one.size
    return found


def test_one_process_sends_nothing(setup_for: Callable[..., TrainingSetup]) -> None:
    assert traffic(setup_for(), 8) == []


def test_copies_add_up_their_gradients(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(Layout(dp_replicate=4))
    assert sent(setup) == {"dp_replicate": pytest.approx(2 * 3 / 4 * setup.shape.parameters * 4)}


@pytest.mark.parametrize(
    ("layout", "times"),
    [
        ({"zero_stage": 1}, 2),
        ({"zero_stage": 2}, 2),
        ({"zero_stage": 3}, 3),
        ({"zero_stage": 3, "reshard_after_forward": False}, 2),
    ],
)
def test_shares_are_gathered_and_summed(
    setup_for: Callable[..., TrainingSetup], layout: dict[str, Any], times: int
) -> None:
    setup = setup_for(Layout(dp_shard=4, **layout))
    assert sent(setup) == {"dp_shard": pytest.approx(times * 3 / 4 * setup.shape.parameters * 4)}


@pytest.mark.parametrize(
    ("layout", "accumulation", "gathers", "sums"),
    [
        ({"zero_stage": 1}, 2, 2, 1),
        ({"zero_stage": 2}, 2, 2, 2),
        ({"zero_stage": 3}, 2, 4, 2),
        ({"zero_stage": 3, "pp": 2, "pp_schedule": "1f1b", "microbatches": 4}, 1, 8, 1),
    ],
)
def test_what_is_gathered_and_summed_with_several_passes(
    setup_for: Callable[..., TrainingSetup], layout: dict[str, Any], accumulation: int, gathers: int, sums: int
) -> None:
    found = traffic(setup_for(Layout(dp_shard=2, **layout), accumulation=accumulation), 8)
    weights, gradients = (one for one in found if one.dimension == "dp_shard")
    assert weights.size / gradients.size == gathers / sums


def test_pieces_of_a_sequence_share_weights_too(setup_for: Callable[..., TrainingSetup]) -> None:
    alone, with_pieces = (sent(setup_for(Layout(dp_shard=2, cp=cp)))["dp_shard"] for cp in (1, 2))
    assert with_pieces / alone == pytest.approx((3 / 4) / (1 / 2))


def test_a_divided_matrix_asks_for_its_neighbours_twice_a_layer(setup_for: Callable[..., TrainingSetup]) -> None:
    plain, again = (sent(setup_for(Layout(tp=2), checkpointing=how))["tp"] for how in (False, True))
    assert plain == 8 * 4 * 2048 * 512 * 4
    assert again == plain * 1.5


def test_a_pipeline_hands_on_hidden_states(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(Layout(pp=2, pp_schedule="1f1b", microbatches=4))
    assert sent(setup) == {"pp": 2 * 2048 * 512 * 4}


@pytest.mark.parametrize(("kv_heads", "copies"), [(8, 1), (2, 1), (1, 2)])
def test_pieces_of_a_sequence_exchange_heads(
    setup_for: Callable[..., TrainingSetup], kv_heads: int, copies: int
) -> None:
    model = {"num_key_value_heads": kv_heads}
    plain, again = (sent(setup_for(Layout(cp=2), model, checkpointing=how)) for how in (False, True))
    widths = 2 * 512 + 2 * 64 * kv_heads * copies  # queries and answers, keys and values
    assert plain["dp_replicate"] == again["dp_replicate"] > 0  # and the gradients of both pieces are summed
    assert plain["cp"] == 8 * 2 * 1024 * widths * 4 / 2
    assert again["cp"] == plain["cp"] * 1.5


def test_inner_dimensions_stay_inside_a_node(setup_for: Callable[..., TrainingSetup]) -> None:
    over = links(setup_for(Layout(tp=4, dp_shard=2, zero_stage=3, pp=2, pp_schedule="1f1b", microbatches=4)), 4)
    assert over == {
        "tp": "inside a node",
        "cp": "inside a node",
        "dp_shard": "between nodes",
        "dp_replicate": "between nodes",
        "pp": "between nodes",
    }
