from __future__ import annotations

import pytest

from forge.plan.families import family_of, type_of_config_class


@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        ("transformers.LlamaConfig", "llama"),
        ("transformers.Qwen3MoeConfig", "qwen3_moe"),
        ("transformers.Gemma2Config", "gemma2"),
        ("transformers.GPT2Config", "gpt2"),
        ("transformers.GPTNeoXConfig", "gpt_neox"),
        ("transformers.SmolLM3Config", "smollm3"),
        ("forge.ml.models.decoder.DecoderConfig", "forge_decoder"),
    ],
)
def test_the_type_of_a_class(name: str, model_type: str) -> None:
    assert type_of_config_class(name) == model_type


def test_what_is_not_known_is_taken_for_a_llama_and_says_so() -> None:
    assert family_of("llama").known
    assert not family_of("nobody_knows").known
    assert family_of("nobody_knows").norms == family_of("llama").norms


def test_layers_of_another_kind_are_refused_with_the_reason() -> None:
    assert "state" in family_of("mamba").refused
    assert family_of("llama").refused == ""


@pytest.mark.torch
@pytest.mark.parametrize(
    "model_type", ["llama", "qwen3", "gemma2", "granite", "cohere", "phi3", "qwen3_moe", "gpt2", "olmoe"]
)
def test_plans_exist_where_the_library_has_them(model_type: str) -> None:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[model_type]
    family = family_of(model_type)
    assert family.tensor_parallel == bool(getattr(config, "base_model_tp_plan", None))
