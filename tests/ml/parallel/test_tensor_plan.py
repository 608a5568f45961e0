"""The plan of a model is read strictly: what is not understood, fits nothing or says nothing of a matrix is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from forge.ml.parallel.tensor_plan import TensorPlan

pytestmark = pytest.mark.torch

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


def model_of(kind: str, **more: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **more}))


def read(model: Any) -> TensorPlan:
    from forge.ml.memory.blocks import blocks
    from forge.ml.parallel.tensor_plan import read_plan

    return read_plan(model, blocks(model))


def test_regions_are_the_parts_of_layers_in_which_matrices_are_divided() -> None:
    plan = read(model_of("llama"))
    assert [region.name for region in plan.regions] == [
        f"model.layers.{layer}.{part}" for layer in (0, 1) for part in ("self_attn", "mlp")
    ]
    assert all(region.simple for region in plan.regions)
    assert {each.name: each.style for each in plan.outside} == {
        "lm_head": "colwise_gather_output",
        "model.embed_tokens": "embedding_rowwise",
    }


def test_a_region_that_gathers_or_has_a_router_has_more_than_one_way_in() -> None:
    assert not any(region.simple for region in read(model_of("phi3")).regions)
    experts = read(model_of("qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16))
    assert {region.name.rsplit(".")[-1]: region.simple for region in experts.regions} == {
        "self_attn": True,
        "mlp": False,
    }
    assert experts.regions[1].unnamed == ["model.layers.0.mlp.gate.weight"]


def test_a_dense_network_in_the_place_of_experts_is_no_mistake_of_the_plan() -> None:
    mixed = model_of("qwen3_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, mlp_only_layers=[0])
    assert read(mixed).regions[1].styles == {"colwise", "rowwise"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.layers.*.mlp.up_proj": "sideways"}, "gives model.layers.*.mlp.up_proj the style 'sideways'"),
        (
            {"model.layers.*.cross_attn.q_proj": "colwise"},
            "names model.layers.*.cross_attn.q_proj, and the model has no such",
        ),
        ({"model.head": "colwise"}, "names model.head, and the model has no such thing"),
        (
            {"model.layers.*.mlp.up_proj": None},
            "says nothing of model.layers.0.mlp.up_proj.weight, which would silently",
        ),
        (
            {"model.layers.*.self_attn.q_norm": None},
            "says nothing of model.layers.0.self_attn.q_norm.weight, which may see",
        ),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_by_name(change: dict[str, str | None], message: str) -> None:
    from forge.base.errors import ModelError

    model = model_of("qwen3", head_dim=8)
    plan = {**model._tp_plan, **change}
    model._tp_plan = {pattern: style for pattern, style in plan.items() if style is not None}
    with pytest.raises(ModelError, match="Qwen3ForCausalLM") as caught:
        read(model)
    assert message in str(caught.value)


def test_a_model_without_a_plan_is_refused() -> None:
    from forge.base.errors import ModelError

    with pytest.raises(ModelError, match="GPT2LMHeadModel has no tensor-parallel plan"):
        read(model_of("gpt2", bos_token_id=1, eos_token_id=2))


@pytest.mark.slow
def test_the_plans_of_known_families_are_understood() -> None:
    from forge.base.errors import ModelError

    answers = {}
    for kind in (
        "llama",
        "qwen2",
        "qwen3",
        "mistral",
        "gemma",
        "gemma2",
        "granite",
        "cohere",
        "phi3",
        "olmo2",
        "glm4",
        "smollm3",
    ):
        try:
            read(model_of(kind))
        except ModelError as error:
            answers[kind] = str(error)
    assert not answers
