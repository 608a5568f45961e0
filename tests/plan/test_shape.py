"""The shape of a decoder, and that its parameters are those that the model has."""

from __future__ import annotations

from typing import Any

import pytest

from forge.plan.shape import ModelShape

TINY: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 128,
    "max_position_embeddings": 64,
}
GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 32, "vocab_size": 128}
EXPERTS = {
    **TINY,
    "model_type": "qwen3_moe",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "head_dim": 16,
}


def shape_of(**changes: Any) -> ModelShape:
    return ModelShape.from_config({**TINY, **changes})


def test_the_names_of_a_llama() -> None:
    shape = shape_of()
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim) == (3, 64, 4, 2, 16)
    assert (shape.ffn, shape.vocab, shape.tied, shape.positions, shape.window) == (96, 128, False, 64, None)


def test_the_names_of_a_gpt() -> None:
    shape = ModelShape.from_config(GPT2)
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.ffn) == (3, 64, 4, 4, 256)
    assert shape.tied
    assert shape.qkv_bias


def test_a_model_that_also_sees_keeps_its_decoder_inside() -> None:
    shape = ModelShape.from_config({"model_type": "gemma3", "vision_config": {}, "text_config": TINY})
    assert (shape.model_type, shape.hidden) == ("llama", 64)


def test_a_config_of_a_class_has_its_type_by_name() -> None:
    config = {**TINY, "_target_": "transformers.Qwen3MoeConfig", "num_experts": 4}
    del config["model_type"]
    assert ModelShape.from_config(config).model_type == "qwen3_moe"


def test_windows_and_experts() -> None:
    assert shape_of(sliding_window=16).window == 16
    assert shape_of(sliding_window=16, use_sliding_window=False).window is None
    shape = ModelShape.from_config(EXPERTS)
    assert (shape.experts, shape.experts_per_token, shape.expert_ffn) == (4, 2, 32)
    assert shape.used_parameters == shape.parameters - 3 * 2 * 3 * 64 * 32


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, "does not say num_hidden_layers, hidden_size, num_attention_heads, vocab_size"),
        ({**TINY, "intermediate_size": None}, "does not say intermediate_size"),
        ({**TINY, "num_key_value_heads": 3}, "4 heads cannot share 3"),
        ({**TINY, "hidden_size": 0}, "hidden of the model is a number of at least 1"),
        ({**TINY, "model_type": "mamba"}, "mamba cannot be planned: its layers keep a state"),
        ({**TINY, "model_type": "deepseek_v3"}, "compresses keys and values"),
    ],
)
def test_what_cannot_be_told_is_said(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelShape.from_config(config)


def test_a_family_that_nobody_knows_is_taken_for_a_llama() -> None:
    assert not shape_of(model_type="new_thing").family.known
    assert shape_of(model_type="new_thing").parameters == shape_of().parameters


def assembled(network: str = "GatedFeedForward", norm: str = "RMSNorm") -> dict[str, Any]:
    package = "forge.ml.models.decoder"
    return {
        "_target_": f"{package}.DecoderConfig",
        "vocab_size": 128,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "max_position_embeddings": 32,
        "tie_word_embeddings": True,
        "position": {"_target_": f"{package}.LearnedPositions"},
        "layers": [
            {
                "_target_": f"{package}.PreNorm",
                "attention": {"_target_": f"{package}.MultiHeadAttention", "num_heads": 4, "qkv_bias": True},
                "feed_forward": {"_target_": f"{package}.{network}", "intermediate_size": 96, "bias": False},
                "norm": {"_target_": f"{package}.{norm}"},
            }
        ],
    }


def test_a_decoder_from_parts() -> None:
    shape = ModelShape.from_config(assembled())
    assert (shape.heads, shape.kv_heads, shape.ffn, shape.tied, shape.qkv_bias) == (4, 4, 96, True, True)
    assert shape.embedding_parameters == (128 + 32) * 64
    gpt = ModelShape.from_config(assembled("Mlp", "LayerNorm"))
    assert gpt.layer_parameters(0) == shape.layer_parameters(0) - 64 * 96 + 2 * 64


@pytest.mark.torch
@pytest.mark.parametrize(
    "model_type",
    [
        *("llama", "mistral", "qwen2", "qwen3", "gpt2", "gemma", "gemma2", "granite", "cohere", "phi3", "olmo2"),
        *("smollm3", "starcoder2", "qwen3_moe", "qwen2_moe", "mixtral", "gpt_neox", "glm4", "phi", "stablelm", "olmoe"),
    ],
)
def test_the_parameters_are_those_of_the_model(model_type: str) -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    sizes = {**EXPERTS, "vocab_size": 256} if "moe" in model_type else {**TINY, "vocab_size": 256}
    sizes |= {"n_embd": 64, "n_layer": 3, "n_head": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes.pop("model_type")
    if model_type.startswith("gpt"):
        del sizes["num_key_value_heads"]
    if model_type == "gpt2":
        del sizes["intermediate_size"]
    if model_type == "olmoe":
        sizes["moe_intermediate_size"] = sizes["intermediate_size"]  # the only width it has
    config = CONFIG_MAPPING[model_type](**sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert ModelShape.from_config(config.to_dict()).parameters == sum(each.numel() for each in model.parameters())
