"""The memory of a process, its parts and its peak; benchmarks/plan.py holds it against measured runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.layout import Layout
from forge.plan.memory import pipeline_memory, rank_memory
from forge.plan.optimizer_state import OptimizerPlan

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup

BF16: dict[str, Any] = {"weights": "bfloat16"}
MEASURED = [
    # rows, tokens, the run, and the peak that benchmarks/memory_worker.py measured on a CPU, in MiB
    (1, 512, {}, 641.5),
    (4, 256, {}, 845.5),
    (4, 512, {"checkpointing": True}, 633.8),
    (4, 512, {"checkpointing": "selective"}, 985.2),
    (2, 512, {"checkpointing": 2}, 686.3),
    (2, 512, {"fused": True}, 846.8),
    (4, 512, {"fused": True, "checkpointing": True}, 616.4),
    (2, 512, {"whole_logits": True}, 938.1),
    (2, 512, {**BF16, "rounding": True}, 447.1),
    (2, 512, {"precision": "bf16"}, 750.9),
    (4, 512, {"precision": "bf16", "checkpointing": True}, 601.1),
    (2, 512, {"optimizer": OptimizerPlan("adafactor", one_kernel=False)}, 586.1),
    (2, 512, {"optimizer": OptimizerPlan("muon", one_kernel=False)}, 753.9),
    (2, 512, {"optimizer": OptimizerPlan("sgd", momentum=False)}, 586.3),
    (
        2,
        512,
        {
            **BF16,
            "rounding": True,
            "optimizer": OptimizerPlan("adafactor", one_kernel=False),
            "fused": True,
            "checkpointing": True,
        },
        191.8,
    ),
]


@pytest.mark.parametrize(("rows", "tokens", "run", "measured"), MEASURED)
def test_the_peak_is_within_a_tenth_of_what_was_measured(
    setup_for: Callable[..., TrainingSetup], rows: int, tokens: int, run: dict[str, Any], measured: float
) -> None:
    memory = rank_memory(setup_for(batch_size=rows, sequence_length=tokens, **run), 0)
    assert memory.peak / 2**20 == pytest.approx(measured, rel=0.1)


# The peaks of each place of a pipeline, or of one process of a layout without one, in MiB: real runs of a larger llama on a CPU, as
# tests/layouts/test_planned.py makes them, on two processes or four; beside them its rows and the layout.
LARGER: dict[str, Any] = {"tie_word_embeddings": False, "vocab_size": 16_384}
PIPED: dict[str, Any] = {"pp": 2, "microbatches": 4}
TWO_STAGES: dict[str, Any] = {**PIPED, "stages_per_rank": 2}
MEASURED_LAYOUTS = [
    (2, {"dp_replicate": 2}, [1101]),
    (2, {"dp_shard": 2, "zero_stage": 1}, [873]),
    (2, {"dp_shard": 2, "zero_stage": 2}, [872]),
    (2, {"dp_shard": 2}, [775]),
    (2, {"dp_shard": 2, "reshard_after_forward": False}, [873]),
    (2, {"tp": 2, "sequence_parallel": True, "loss_parallel": True}, [499]),
    (2, {"tp": 2}, [611]),
    (2, {"cp": 2}, [910]),
    (4, {**PIPED, "pp_schedule": "gpipe"}, [705, 580]),
    (4, {**PIPED, "pp_schedule": "1f1b"}, [595, 422]),
    (4, {**TWO_STAGES, "pp_schedule": "interleaved_1f1b"}, [666, 470]),
    (4, {**TWO_STAGES, "pp_schedule": "looped_bfs"}, [713, 582]),
    (4, {**TWO_STAGES, "pp_schedule": "interleaved_zero_bubble"}, [625, 536]),
    (4, {**TWO_STAGES, "pp_schedule": "zbv"}, [747, 411]),
    (4, {**TWO_STAGES, "pp_schedule": "dualpipev"}, [748, 419]),
    (2, {"dp_replicate": 2, "dp_shard": 2}, [774]),
    (2, {"dp_shard": 2, "tp": 2, "sequence_parallel": True, "loss_parallel": True}, [416]),
    (2, {"dp_shard": 2, "cp": 2}, [457]),
    (4, {**PIPED, "pp_schedule": "1f1b", "dp_shard": 2}, [517, 363]),
]


@pytest.mark.parametrize(("rows", "layout", "measured"), MEASURED_LAYOUTS)
def test_the_peak_of_a_layout_is_within_a_tenth_of_what_was_measured(
    setup_for: Callable[..., TrainingSetup], rows: int, layout: dict[str, Any], measured: list[int]
) -> None:
    setup = setup_for(Layout(**layout), LARGER, batch_size=rows, sequence_length=512)
    assert [memory.peak / 2**20 for memory in pipeline_memory(setup)] == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(
    ("stage", "accumulation", "whole"), [(1, 1, False), (1, 2, True), (2, 2, False), (3, 2, False)]
)
def test_what_shares_divide(
    setup_for: Callable[..., TrainingSetup], stage: int, accumulation: int, *, whole: bool
) -> None:
    one = rank_memory(setup_for(), 0)
    memory = rank_memory(setup_for(Layout(dp_shard=2, cp=2, zero_stage=stage), accumulation=accumulation), 0)
    assert memory.weights == one.weights / 4
    assert memory.optimizer == one.optimizer / 4
    assert memory.gradients == one.gradients / (1 if whole else 4)
    # Until the third stage weights are whole while a step lasts.
    assert (memory.gathered == one.weights) == (stage < 3)


def test_a_layer_gathered_as_it_computes_leaves_nothing_cast(setup_for: Callable[..., TrainingSetup]) -> None:
    layout = Layout(dp_shard=2, zero_stage=3)
    stored, cast = (rank_memory(setup_for(layout, precision=precision), 0) for precision in ("no", "bf16"))
    around = setup_for().shape
    ends = around.vocab * around.hidden * 4
    assert cast.gathered - ends == pytest.approx((stored.gathered - ends) / 2, rel=0.01)
    # One process keeps what it cast of all layers until the backward pass.
    alone = rank_memory(setup_for(precision="bf16"), 0)
    kept = alone.forward - alone.weights - alone.optimizer - alone.activations - alone.logits
    shared = cast.forward - cast.weights - cast.optimizer - cast.activations - cast.logits - cast.gathered
    assert shared == pytest.approx(0, abs=1)
    assert kept == pytest.approx((around.parameters - around.vocab * around.hidden) * 2, rel=0.01)


def test_a_process_has_the_layers_that_are_named(setup_for: Callable[..., TrainingSetup]) -> None:
    layout = Layout(pp=2, pp_schedule="1f1b", microbatches=4, stage_layers=(2, 6))
    first, last = pipeline_memory(setup_for(layout, {"tie_word_embeddings": False, "vocab_size": 8}))
    assert (first.layers, last.layers) == (tuple(range(2)), tuple(range(2, 8)))
    assert last.weights / first.weights == pytest.approx(3, rel=0.01)


def test_a_pipeline_sums_its_gradients_at_the_end(setup_for: Callable[..., TrainingSetup]) -> None:
    layout = Layout(**PIPED, pp_schedule="gpipe")
    apart, shared = (rank_memory(setup_for(one), 0) for one in (layout, replace(layout, dp_shard=2, zero_stage=3)))
    assert shared.gradients == apart.gradients
    assert shared.step < apart.step


def test_gradients_come_when_activations_go(setup_for: Callable[..., TrainingSetup]) -> None:
    gpipe, one_by_one = (
        rank_memory(setup_for(Layout(pp=2, pp_schedule=name, microbatches=8), batch_size=8), 0)
        for name in ("gpipe", "1f1b")
    )
    # All forward passes come first, and no gradient is there while the last of them runs.
    assert gpipe.forward == pytest.approx(gpipe.weights + gpipe.optimizer + gpipe.activations)
    assert one_by_one.forward == pytest.approx(
        one_by_one.weights + one_by_one.optimizer + one_by_one.activations + one_by_one.gradients
    )


def test_a_pipeline_divides_layers_and_its_ends_hold_more(setup_for: Callable[..., TrainingSetup]) -> None:
    layout = Layout(pp=4, pp_schedule="1f1b", microbatches=4)
    memory = pipeline_memory(setup_for(layout))
    assert sorted(layer for one in memory for layer in one.layers) == list(range(8))
    assert memory[0].activations / len(memory[0].layers) > memory[1].activations / len(memory[1].layers)
    assert [bool(one.logits) for one in memory] == [False, False, False, True]
    assert sum(one.parameters for one in memory) == setup_for().shape.parameters + 16_384 * 512  # the tied head


def test_an_adapter_leaves_gradients_and_state_to_a_few_weights(setup_for: Callable[..., TrainingSetup]) -> None:
    whole, adapter, bits = (
        rank_memory(setup_for(**BF16, **run), 0)
        for run in ({}, {"adapter_rank": 8}, {"adapter_rank": 8, "four_bits": True})
    )
    assert adapter.trained == adapter.parameters - whole.parameters
    assert adapter.gradients == 4 * adapter.trained
    assert adapter.optimizer == 8 * adapter.trained
    assert bits.weights < adapter.weights
    assert adapter.step < whole.step


def test_what_waits_on_the_host_is_not_on_the_device(setup_for: Callable[..., TrainingSetup]) -> None:
    stays, goes = (rank_memory(setup_for(device="cuda", offload=offload), 0) for offload in (False, True))
    assert goes.peak < stays.peak
    assert goes.host + goes.activations == pytest.approx(stays.activations)
    offloaded = rank_memory(setup_for(Layout(dp_shard=2, zero_stage=3, cpu_offload=True), device="cuda"), 0)
    assert offloaded.host == offloaded.weights + offloaded.gradients + offloaded.optimizer
    assert rank_memory(setup_for(offload=True), 0).host == 0  # on a CPU there is no other memory


def test_gradients_of_several_passes_add_up_beside_activations(setup_for: Callable[..., TrainingSetup]) -> None:
    once, often = (rank_memory(setup_for(accumulation=count), 0) for count in (1, 2))
    assert often.forward == once.forward + once.gradients


def test_a_fused_optimizer_has_one_gradient_at_a_time(setup_for: Callable[..., TrainingSetup]) -> None:
    memory = rank_memory(setup_for(fused=True), 0)
    assert memory.gradients == 16_384 * 512 * 4
