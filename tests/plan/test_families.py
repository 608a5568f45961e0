from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from forge.plan import families
from forge.plan.families import family_of, type_of_config_class
from forge.plan.shape import ModelShape

HEADS = {"head_dim": 128}
# With what makes a model of its config where it is not made without.
PARTS: dict[str, dict[str, Any]] = {
    each: HEADS if each == "hunyuan_v1_moe" else {}
    for each in (
        *("afmoe", "apertus", "bailing_hybrid", "deepseek_v3", "deepseek_v4", "doge", "gemma3n_text", "gemma4_text"),
        *(
            "granitemoe",
            "granitemoehybrid",
            "granitemoeshared",
            "hunyuan_v1_moe",
            "jamba",
            "kimi_linear",
            "llama4_text",
        ),
        *("minimax", "nemotron_h", "olmo_hybrid", "phimoe"),
    )
}
SEEING = {"qwen3_5", "qwen3_5_moe", "qwen4_exp"}  # whose decoders are types of their own


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
def test_tensor_plans_are_what_the_library_has() -> None:
    from transformers import CONFIG_MAPPING

    # Some are of the library under other names, or are never a causal model's own.
    known = [each for each in CONFIG_MAPPING if family_of(each) != family_of("nobody_knows")]
    found = {each: bool(getattr(CONFIG_MAPPING[each], "base_model_tp_plan", None)) for each in known}
    assert found == {each: family_of(each).tensor_plan != "none" for each in known}
    assert {"opt", "gpt_oss", "llama", "qwen3_5_text"} <= set(found)


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["llama", "qwen3_5_text", "gpt_neox", *PARTS])
def test_plans_that_leave_something_out_are_known(model_type: str) -> None:
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from forge.base.errors import ModelError
    from forge.ml.memory.blocks import blocks
    from forge.ml.parallel.tensor_plan import read_plan

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[model_type](**PARTS.get(model_type, {})))
    assert family_of(model_type).tensor_plan == ("part" if model_type in PARTS else "whole")
    with pytest.raises(ModelError, match="tensor-parallel plan") if model_type in PARTS else nullcontext():
        read_plan(model, blocks(model))


@pytest.mark.torch
def test_layers_with_a_state_are_those_of_the_library() -> None:
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    found = {each: MODEL_FOR_CAUSAL_LM_MAPPING.get(CONFIG_MAPPING[each], None) for each in CONFIG_MAPPING}
    texts = {each: one for each, one in found.items() if one is not None and "CausalLM" in one.__name__}
    stateful = {each for each, one in texts.items() if one._is_stateful}
    assert {"mamba", "qwen3_next", "qwen3_5_text"} <= stateful
    assert stateful - SEEING == {each for each in stateful if family_of(each).stateful}


def test_what_layers_are_given_beside_hidden_states_hangs_on_the_config() -> None:
    sizes = {
        "num_hidden_layers": 2,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "vocab_size": 9,
        "intermediate_size": 8,
    }
    small = {**sizes, "model_type": "gemma4_text"}
    assert ModelShape.from_config(small).beside == "hidden_size_per_layer_input=256"
    large = {**small, "hidden_size_per_layer_input": 0}
    assert ModelShape.from_config(large).beside == ""
    assert ModelShape.from_config({**large, "num_kv_shared_layers": 1}).beside == "num_kv_shared_layers=1"


def test_the_page_has_what_is_refused_of_other_families() -> None:
    page = (Path(__file__).parents[2] / "docs" / "layouts.md").read_text(encoding="utf-8")
    table = page.partition("<!-- table: tests/plan -->\n")[2].partition("<!-- end of table -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    shown = [set(re.findall(r"`([^`]+)`", types)) for _, types, _ in rows]
    named = {one for types in shown for one in types}
    known = {one: family_of(one) for one in named | families._FAMILIES.keys() | families._REFUSED.keys()}
    assert shown == [
        set(families._NO_PLAN),
        set(families._PART_OF_A_PLAN),
        {one for one in families._OWN_ATTENTION if not known[one].stateful},
        {one for one, family in known.items() if family.stateful},
        {one for one, family in known.items() if family.beside},
    ]
