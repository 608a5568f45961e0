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


@pytest.mark.torch
def test_the_types_are_those_of_the_library() -> None:
    from transformers import CONFIG_MAPPING

    met = [each for each in CONFIG_MAPPING if family_of(each) != family_of("nobody_knows")]
    assert {each: type_of_config_class(CONFIG_MAPPING[each].__name__) for each in met} == {each: each for each in met}


def test_what_is_not_known_is_taken_for_a_llama_and_says_so() -> None:
    assert family_of("llama").known
    assert not family_of("nobody_knows").known
    assert family_of("nobody_knows").norms == family_of("llama").norms


def test_layers_of_another_kind_are_refused_with_the_reason() -> None:
    assert "state" in family_of("mamba").refused
    assert family_of("llama").refused == ""


@pytest.mark.torch
def test_attention_is_forges_own_where_the_library_lets_it_be() -> None:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    types = [each for each in CONFIG_MAPPING if family_of(each).known or not family_of(each).forge_attention]
    assert {"llama", "stablelm", "falcon", "mpt", "bloom"} <= set(types)
    found = {each: MODEL_FOR_CAUSAL_LM_MAPPING.get(CONFIG_MAPPING[each], None) for each in types}
    assert {each: bool(one._supports_attention_backend) for each, one in found.items() if one is not None} == {
        each: family_of(each).forge_attention for each, one in found.items() if one is not None
    }


@pytest.mark.torch
@pytest.mark.parametrize(
    "model_type",
    [
        "llama",
        "qwen3",
        "gemma2",
        "granite",
        "cohere",
        "phi3",
        "qwen3_moe",
        "gpt2",
        "olmoe",
        "stablelm",
        "falcon",
        "bloom",
    ],
)
def test_plans_exist_where_the_library_has_them(model_type: str) -> None:
    from transformers import CONFIG_MAPPING

    config = CONFIG_MAPPING[model_type]
    family = family_of(model_type)
    assert family.tensor_parallel == bool(getattr(config, "base_model_tp_plan", None))
