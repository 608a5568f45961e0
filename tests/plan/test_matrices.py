from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.plan.asked import Choices
from forge.plan.layout import Layout
from forge.plan.matrices import adapter_matrices, embedding_matrices, layer_matrices, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.plan.setup import TrainingSetup


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"model_type": "qwen2"},
        {"model_type": "qwen3", "head_dim": 64, "tie_word_embeddings": False},
        {"model_type": "phi3"},
        {"model_type": "gpt2", "n_inner": 1408, "max_position_embeddings": 64},
        {"model_type": "qwen3_moe", "num_experts": 4, "moe_intermediate_size": 64, "head_dim": 64},
        {"model_type": "qwen2_moe", "num_experts": 4, "shared_expert_intermediate_size": 64},
    ],
)
def test_one_process_holds_all_parameters(setup_for: Callable[..., TrainingSetup], model: dict[str, Any]) -> None:
    setup = setup_for(model=model)
    held = [one for layer in range(8) for one in layer_matrices(setup, layer)]
    assert numbers([*held, *embedding_matrices(setup, first=True, last=True)]) == setup.shape.parameters


def test_matrices_are_divided_and_norms_are_not(setup_for: Callable[..., TrainingSetup]) -> None:
    whole, half = setup_for(), setup_for(Layout(tp=2))
    assert numbers(layer_matrices(half, 0)) == (numbers(layer_matrices(whole, 0)) - 2 * 512) / 2 + 2 * 512


def test_a_tied_head_on_another_process_is_a_matrix_of_its_own(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for()
    assert numbers(embedding_matrices(setup, first=False, last=True)) == 16_384 * 512 + 512
    assert numbers(embedding_matrices(setup, first=False, last=False)) == 0


def test_an_adapter_has_two_thin_matrices_beside_each(setup_for: Callable[..., TrainingSetup]) -> None:
    setup = setup_for(adapter_rank=4)
    widths = 4 * (512 + 512) + 3 * (512 + 1408)
    assert numbers(adapter_matrices(setup, 0)) == 4 * widths


EXPERTS: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 128,
    "num_local_experts": 4,
    "pad_token_id": None,
    "eos_token_id": 2,
}


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning", "ignore:.*_pattern keys:RuntimeWarning")
@pytest.mark.parametrize(
    ("model_type", "widths"),
    [
        ("qwen3_moe", {"moe_intermediate_size": 32}),
        ("qwen2_moe", {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 48}),
        ("mixtral", {}),
        ("olmoe", {}),
    ],
)
def test_an_adapter_beside_experts_is_that_of_peft(
    setup_for: Callable[..., TrainingSetup], model_type: str, widths: dict[str, int]
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **EXPERTS, **widths)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    adapted = get_peft_model(AutoModelForCausalLM.from_config(config), lora)
    setup = setup_for(model=config.to_dict(), adapter_rank=4, choices=Choices(adapter_targets="all-linear"))
    assert 2 * numbers(adapter_matrices(setup, 0)) == adapted.get_nb_trainable_parameters()[0]


def test_an_adapter_that_is_not_on_experts_has_none_beside_them(setup_for: Callable[..., TrainingSetup]) -> None:
    model = {"model_type": "qwen3_moe", **EXPERTS, "head_dim": 16}
    setup = setup_for(model=model, adapter_rank=4, choices=Choices(adapter_targets=("q_proj",)))
    assert numbers(adapter_matrices(setup, 0)) == 4 * (2 * (64 + 64) + 2 * (64 + 32))
