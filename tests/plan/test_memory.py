"""The memory of a process, its parts and its peak; benchmarks/plan.py holds it against measured runs."""

from __future__ import annotations

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
    (2, 512, {**BF16, "rounding": True}, 578.1),
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


def test_what_shares_divide(setup_for: Callable[..., TrainingSetup]) -> None:
    one = rank_memory(setup_for(), 0)
    for stage, divided in ((1, "optimizer"), (2, "gradients"), (3, "weights")):
        memory = rank_memory(setup_for(Layout(dp_shard=4, zero_stage=stage)), 0)
        assert getattr(memory, divided) == getattr(one, divided) / 4
    assert rank_memory(setup_for(Layout(dp_shard=4, zero_stage=2)), 0).weights == one.weights
    assert rank_memory(setup_for(Layout(dp_shard=4, zero_stage=3)), 0).gathered > 0


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
