"""What a layer keeps, held against what torch keeps of the same layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.activations import checkpointed_layers, layer_bytes, layer_input_bytes, layer_work_bytes, tail_bytes
from forge.plan.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup


def test_a_llama_in_float32_by_hand(setup_for: Callable[..., TrainingSetup]) -> None:
    # Two norms keep what they saw, what they made of it and what goes on; then q, k, v and their result; then four widths.
    expected = 4 * (6 * 512 + 4 * 512 + 4 * 1408) + 4 * 8 + 2 * 4
    assert layer_bytes(setup_for(), 0, checkpointed=False) == expected * 2048


def test_checkpoints_leave_the_input_of_a_layer(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(checkpointing=True)
    assert layer_bytes(setup, 0, checkpointed=True) == layer_input_bytes(setup) == 4 * 512 * 2048
    chosen = setup_for(checkpointing="selective")
    whole, part = (layer_bytes(chosen, 0, checkpointed=marked) for marked in (False, True))
    assert layer_input_bytes(setup) < part < whole


@pytest.mark.parametrize(
    ("how", "marks"),
    [(False, [0] * 8), (True, [1] * 8), ("full", [1] * 8), (2, [0, 1] * 4), (3, [0, 0, 1, 0, 0, 1, 0, 0])],
)
def test_which_layers_are_checkpointed(setup_for: Callable[..., TrainingSetup], how: Any, marks: list[int]) -> None:
    assert checkpointed_layers(setup_for(checkpointing=how)) == [bool(mark) for mark in marks]


def test_tensor_parallelism_divides_what_is_between_matrices(setup_for: Callable[..., TrainingSetup]) -> None:
    whole = layer_bytes(setup_for(), 0, checkpointed=False)
    half = layer_bytes(setup_for(Layout(tp=2)), 0, checkpointed=False)
    shared = layer_bytes(setup_for(Layout(tp=2, sequence_parallel=True)), 0, checkpointed=False)
    assert whole / 2 < shared < half < whole
    assert layer_work_bytes(setup_for(Layout(tp=2)), 0) < layer_work_bytes(setup_for(), 0)


def test_attention_written_out_keeps_a_number_for_each_pair(setup_for: Callable[..., TrainingSetup]) -> None:
    fused, written = (layer_bytes(setup_for(scores=scores), 0, checkpointed=False) for scores in (False, True))
    assert written - fused == 4 * 8 * 512 * 2048


SIMULATED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("llama", {}, {}),
    ("llama", {"weights": "bfloat16"}, {}),
    ("llama", {"precision": "bf16"}, {}),
    ("llama", {"checkpointing": True}, {}),
    ("llama", {"checkpointing": "selective"}, {}),
    ("llama", {"checkpointing": "selective", "weights": "bfloat16"}, {}),
    ("qwen3", {}, {"head_dim": 64}),
    ("qwen3", {"weights": "bfloat16"}, {"head_dim": 64}),
    ("qwen2", {}, {}),
    ("mistral", {}, {}),
    ("granite", {}, {}),
    ("phi3", {}, {}),
    ("phi3", {}, {"partial_rotary_factor": 0.5}),
    ("cohere", {}, {}),
    ("gpt2", {}, {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}),
]


@pytest.mark.torch
@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize(("model_type", "run", "more"), SIMULATED)
def test_a_forward_pass_keeps_what_is_counted(
    setup_for: Callable[..., TrainingSetup], model_type: str, run: dict[str, Any], more: dict[str, Any], *, lean: bool
) -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from forge.ml.models.lean import put_lean
    from forge.ml.models.simulation import StepSettings, simulate_step

    sizes: dict[str, Any] = {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "intermediate_size": 1408,
        "vocab_size": 16_384,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **more,
    }
    sizes |= {"n_inner": 1408} if model_type == "gpt2" else {"num_key_value_heads": 8}
    config = CONFIG_MAPPING[model_type](**sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, run.get("weights", "float32")))
    if lean:
        put_lean(model)
    settings = StepSettings(
        2, 512, mixed_precision=run.get("precision", "no"), gradient_checkpointing=run.get("checkpointing", False)
    )
    simulated = simulate_step(model, settings)
    setup = setup_for(model={**config.to_dict(), "model_type": model_type}, batch_size=2, lean=lean, **run)
    marks = checkpointed_layers(setup)
    counted = sum(layer_bytes(setup, layer, checkpointed=marks[layer]) for layer in range(8)) + tail_bytes(setup)
    counted += 16_384 * 512 * setup.weight_size  # the gradient of the head, which the loss has made
    if setup.cast and not setup.checkpointing:
        counted += 2 * 8 * (4 * 512 * 512 + 3 * 512 * 1408)  # weights as they were cast
    assert counted == pytest.approx(simulated.activations, rel=0.05)
