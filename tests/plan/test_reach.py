"""What an adapter is put on: told from its settings, and held against peft itself."""

from __future__ import annotations

from typing import Any

import pytest

from forge.plan.asked import Choices
from forge.plan.reach import reaches_experts
from forge.plan.shape import ModelShape

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 128,
    "eos_token_id": 2,
}
EXPERTS: dict[str, Any] = {
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48,
}
OF_EXPERTS: dict[str, Any] = {"qwen3_moe": EXPERTS, "mixtral": EXPERTS, "olmoe": EXPERTS, "qwen2_moe": EXPERTS}
NAMES = ["gate_proj", "up_proj", "down_proj"]
MIXTRAL = ["w1", "w2", "w3"]
REACHING = ["all-linear", NAMES, MIXTRAL, ["q_proj", "mlp.gate"], ".*_proj", r".*mlp\..*"]
APART = [["q_proj", "v_proj"], r".*self_attn\.(q|v)_proj", r".*(q_proj|v_proj)", []]


def reached(model_type: str, targets: Any, **settings: Any) -> bool:
    choices = Choices.of({"model": {"adapter": {"_target_": "peft.LoraConfig", "target_modules": targets, **settings}}})
    shape = {**SIZES, **OF_EXPERTS.get(model_type, {})}
    return reaches_experts(choices, ModelShape.from_config({**shape, "model_type": model_type}))


@pytest.mark.parametrize("targets", REACHING)
def test_what_reaches_experts(targets: Any) -> None:
    assert reached("qwen3_moe", targets)
    assert not reached("llama", targets)
    assert not reached("qwen2_moe", targets)


@pytest.mark.parametrize("targets", APART)
def test_what_stays_in_the_attention(targets: Any) -> None:
    assert not reached("qwen3_moe", targets)
    assert reached("qwen2_moe", targets, target_parameters=["mlp.experts.down_proj"])


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning", "ignore:.*_pattern keys:RuntimeWarning")
@pytest.mark.parametrize("model_type", OF_EXPERTS)
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj"], NAMES])
def test_it_is_what_peft_reaches(model_type: str, targets: Any) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    targets = MIXTRAL if (model_type, targets) == ("mixtral", NAMES) else targets
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SIZES, **EXPERTS, pad_token_id=None))
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=targets))
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert any(".experts." in name for name in trained) == reached(model_type, targets)
