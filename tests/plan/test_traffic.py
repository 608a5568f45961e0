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


def ends(setup: TrainingSetup) -> int:
    """The bytes of what is around the layers: the embedding, which is the head too, and the last norm."""
    return (setup.shape.vocab + 1) * setup.shape.hidden * 4


@pytest.mark.parametrize(
    ("layout", "accumulation", "gathers", "sums"),
    [
        ({"zero_stage": 1}, 1, 1, 1),
        ({"zero_stage": 2}, 1, 1, 1),
        ({"zero_stage": 3}, 1, 2, 1),
        ({"zero_stage": 3, "reshard_after_forward": False}, 1, 1, 1),
        # Weights that are not divided stay whole from the first batch to the last, and so do gradients.
        ({"zero_stage": 1}, 3, 1, 1),
        ({"zero_stage": 2}, 3, 1, 3),
        ({"zero_stage": 3}, 3, 6, 3),
        ({"zero_stage": 3, "reshard_after_forward": False}, 3, 3, 3),
    ],
)
def test_shares_are_gathered_and_summed(
    setup_for: Callable[..., TrainingSetup], layout: dict[str, Any], accumulation: int, gathers: int, sums: int
) -> None:
    setup = setup_for(Layout(dp_shard=4, **layout), accumulation=accumulation)
    weights, gradients = traffic(setup, 8)
    whole = setup.shape.parameters * 4
    twice = 2 if setup.layout.shards_weights and setup.layout.reshard_after_forward else 1
    assert weights.size == pytest.approx(3 / 4 * gathers * (whole - ends(setup) + ends(setup) / twice))
    assert gradients.size == pytest.approx(3 / 4 * sums * whole)
    assert (weights.messages, gradients.messages) == (gathers * 8 + gathers // twice, sums * 9)


def test_each_microbatch_of_a_pipeline_gathers_weights_and_none_sums(
    setup_for: Callable[..., TrainingSetup],
) -> None:
    pipeline: Any = {"pp": 2, "pp_schedule": "1f1b", "microbatches": 4}
    setup = setup_for(Layout(dp_shard=2, zero_stage=3, **pipeline))
    weights, gradients, _, _ = traffic(setup, 8)
    embedding = setup.shape.vocab * setup.shape.hidden * 4
    assert weights.size == 4 * (2 * gradients.size - embedding / 2)
    weights, gradients, _, _ = traffic(setup_for(Layout(dp_shard=2, zero_stage=1, **pipeline)), 8)
    assert weights.size == gradients.size  # weights that are not divided once for all of them


def test_copies_of_shares_add_up_their_gradients_once_a_step(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(Layout(dp_replicate=2, dp_shard=2, zero_stage=3), accumulation=4)
    assert sent(setup)["dp_replicate"] == pytest.approx(setup.shape.parameters * 4 / 2)


def test_of_an_adapter_its_own_gradients_are_summed(setup_for: Callable[..., TrainingSetup]) -> None:
    hidden, ffn, rank = 512, 1408, 16
    each = rank * (4 * 2 * hidden + 3 * (hidden + ffn)) * 4 * 8
    setup = setup_for(Layout(dp_replicate=2), adapter_rank=rank)
    assert sent(setup) == {"dp_replicate": each}
    weights, gradients = traffic(setup_for(Layout(dp_shard=2), adapter_rank=rank), 8)
    assert gradients.size == each / 2
    assert weights.size == setup.shape.parameters * 4 - ends(setup) / 2 + each


def test_pieces_of_a_sequence_share_weights_too(setup_for: Callable[..., TrainingSetup]) -> None:
    alone, with_pieces = (sent(setup_for(Layout(dp_shard=2, cp=cp)))["dp_shard"] for cp in (1, 2))
    assert with_pieces / alone == pytest.approx((3 / 4) / (1 / 2))


def test_matrices_are_gathered_as_they_compute_and_their_gradients_summed_in_full(
    setup_for: Callable[..., TrainingSetup],
) -> None:
    layout = Layout(dp_shard=4, zero_stage=3)
    stored, cast = (traffic(setup_for(layout, precision=precision), 8) for precision in ("no", "bf16"))
    around = 3 / 4 * ends(setup_for())
    assert cast[0].size - around == pytest.approx((stored[0].size - around) / 2)
    assert cast[0].messages == stored[0].messages
    assert cast[1] == stored[1]


def test_experts_are_gathered_as_they_are_stored(setup_for: Callable[..., TrainingSetup]) -> None:
    experts = {"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
    layout = Layout(dp_shard=4, zero_stage=3)
    stored, cast = (sent(setup_for(layout, experts, precision=precision)) for precision in ("no", "bf16"))
    assert cast == stored


HIDDEN = 2048 * 512 / 2  # numbers that one of two processes sends when all are gathered


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize(("precision", "size"), [("no", 4), ("bf16", 2)])
def test_a_divided_matrix_asks_for_its_neighbours_twice_a_layer(
    setup_for: Callable[..., TrainingSetup], precision: str, size: int, *, pieces: bool
) -> None:
    layout = Layout(tp=2, sequence_parallel=pieces, loss_parallel=True)
    plain, again = (traffic(setup_for(layout, checkpointing=how, precision=precision), 8) for how in (False, True))
    # Sums and pieces are of the type that is computed in, gradients of what came into a region of that of the weights.
    assert plain[0].size == 8 * HIDDEN * (6 * size + 2 * 4 if pieces else 4 * (size + 4))
    # A checkpoint computes a layer again but for the last sum.
    assert again[0].size - plain[0].size == 8 * HIDDEN * (3 if pieces else 2) * size
    assert plain[1].size == HIDDEN * 4 * (4 if pieces else 2)
    if pieces:
        assert (plain[2].what, plain[2].size) == ("gradients of norms", 8 * 2 * 512 * 4)
    assert plain[-1].size == HIDDEN * 4 * 2 + 3 * 4 * 2048


@pytest.mark.parametrize(
    ("whole_logits", "what", "size"),
    [(False, "rows of the head", 16_384 * 512 * 4 / 2), (True, "logits", HIDDEN * 4 * 2 + 2048 * 16_384 * 4 / 2)],
)
def test_a_loss_that_is_not_divided_gathers(
    setup_for: Callable[..., TrainingSetup], *, whole_logits: bool, what: str, size: float
) -> None:
    *_, last = traffic(setup_for(Layout(tp=2), whole_logits=whole_logits), 8)
    assert (last.what, last.size) == (what, size)


EACH = 2048 / 4 * 512 * 4  # bytes of a microbatch's hidden states
BOTH_ENDS = 16_384 * 512 * 4


@pytest.mark.parametrize(
    ("pipeline", "tied", "messages", "shared"),
    [
        ({"pp": 2, "pp_schedule": "1f1b"}, False, 4, 0),  # one sends hidden states, the other their gradients
        ({"pp": 4, "pp_schedule": "1f1b"}, False, 8, 0),  # who is in the middle sends both
        ({"pp": 2, "pp_schedule": "1f1b"}, True, 4, BOTH_ENDS),
        ({"pp": 2, "pp_schedule": "interleaved_1f1b", "stages_per_rank": 2}, True, 12, BOTH_ENDS),
        ({"pp": 2, "pp_schedule": "zbv", "stages_per_rank": 2}, True, 8, 0),  # both ends, and the turn, in one process
        ({"pp": 2, "pp_schedule": "1f1b", "tp": 2}, True, 4, BOTH_ENDS / 2),
        ({"pp": 2, "pp_schedule": "1f1b", "tp": 2, "sequence_parallel": True}, False, 2, 0),  # four messages of halves
        ({"pp": 2, "pp_schedule": "1f1b", "dp_shard": 2}, True, 4, BOTH_ENDS / 2),
    ],
)
def test_a_pipeline_hands_on_hidden_states(
    setup_for: Callable[..., TrainingSetup], pipeline: dict[str, Any], messages: int, shared: float, *, tied: bool
) -> None:
    setup = setup_for(Layout(microbatches=4, **pipeline), {"tie_word_embeddings": tied})
    handed_on, *rest = (one for one in traffic(setup, 8) if one.dimension == "pp")
    assert handed_on.size == messages * EACH
    assert sum(one.size for one in rest) == shared


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
