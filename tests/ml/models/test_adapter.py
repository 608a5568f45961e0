"""Adapters on a model, and base weights of four bits below them."""

from __future__ import annotations

import importlib.util
import sys
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from families import tiny_config
from tiny_sizes import TINY

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
causal = pytest.importorskip("forge.ml.models.causal")
adapters = pytest.importorskip("forge.ml.models.adapter")

SETTINGS: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 4, "target_modules": "all-linear"}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    config = tiny_config("llama")
    config.hidden_size, config.intermediate_size, config.head_dim = 64, 128, 16
    causal.causal_lm(config).save_pretrained(tmp_path)
    return str(tmp_path)


def _loss(model: Any) -> Any:
    ids = torch.arange(3, 19)[None]
    return model(ids, labels=ids).loss


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_begins_as_nothing_and_learns(folder: str, dora: object) -> None:
    base = causal.causal_lm(path=folder)
    model = causal.causal_lm(path=folder, adapter=peft.LoraConfig(**SETTINGS, use_dora=dora))
    torch.testing.assert_close(_loss(model), _loss(base))
    _learns(model)


def _learns(model: Any) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    first = _loss(model).item()
    for _ in range(8):
        _loss(model).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert _loss(model).item() < first - 0.05


def test_the_adapter_is_float32_on_a_model_in_bfloat16(folder: str) -> None:
    model = causal.causal_lm(path=folder, dtype=torch.bfloat16, adapter=peft.LoraConfig(**SETTINGS))
    kinds = {(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_the_seed_decides_the_adapter_and_the_config_is_left_as_it_was(folder: str) -> None:
    adapter = peft.LoraConfig(**SETTINGS)
    one, same, other = (causal.causal_lm(path=folder, adapter=adapter, seed=seed).state_dict() for seed in (1, 1, 2))
    names = [name for name in one if "lora_A" in name]
    assert all(torch.equal(one[name], same[name]) for name in names)
    assert not any(torch.equal(one[name], other[name]) for name in names)
    assert adapter.base_model_name_or_path is None
    assert adapter.target_modules == "all-linear"


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao, the extra lowbit, is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_four_bits_below_an_adapter_learn_in_a_fourth_of_the_memory(folder: str) -> None:
    whole = causal.causal_lm(path=folder, dtype=torch.bfloat16)
    with causal.deferred_weights():
        model = causal.causal_lm(path=folder, dtype=torch.bfloat16, adapter=adapters.QLora(**SETTINGS))
    model = causal.materialise(model)
    kinds = {name: type(weight).__name__ for name, weight in model.named_parameters() if "base_layer" in name}
    assert set(kinds.values()) == {"NF4Tensor"}
    assert len(kinds) == 2 * 7
    assert type(model.get_output_embeddings().weight) is torch.nn.Parameter
    layer = model.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight
    parts = (layer.quantized_data, layer.quantized_scalers, layer.quantization_factor)
    assert sum(part.nbytes for part in parts) < whole.model.layers[0].mlp.up_proj.weight.nbytes / 3
    assert abs(_loss(model).item() - _loss(whole).item()) < 0.1
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    _learns(model)


def test_without_torchao_four_bits_say_what_to_install(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)  # as if there were none
    with pytest.raises(ModelError, match="need torchao") as caught, causal.deferred_weights():
        causal.causal_lm(path=folder, adapter=adapters.QLora(**SETTINGS))
    assert "forge[lowbit]" in str(caught.value)


def test_four_bits_are_refused_where_they_make_no_sense(folder: str) -> None:
    with pytest.raises(ValueError, match="use_dora needs whole base weights"):
        adapters.QLora(**SETTINGS, use_dora=True)
    with pytest.raises(ValueError, match="read from a path"):
        causal.causal_lm(tiny_config("llama"), adapter=adapters.QLora(**SETTINGS))
    assert folder


def test_the_config_of_a_four_bit_adapter_is_that_of_lora() -> None:
    assert adapters.QLora(**SETTINGS).to_dict() == peft.LoraConfig(**SETTINGS).to_dict()


@pytest.mark.filterwarnings(
    "ignore:The following (rank|alpha)_pattern keys:RuntimeWarning"
)  # peft's own, for what it has renamed
def test_what_peft_leaves_out_is_known() -> None:
    heads = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    experts = {
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
    }
    sizes = {**TINY, **heads, **experts, "num_key_value_heads": 4, "first_k_dense_replace": 1}
    config = transformers.AutoConfig.for_model("deepseek_v3", **sizes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    found = adapters.without_adapter(
        adapters.put_adapter(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    )
    assert found == [
        f"model.layers.*.{network}.{name}_proj"
        for network in ("mlp", "mlp.shared_experts")
        for name in ("gate", "up", "down")
    ]
    llama = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model("llama", **TINY))
    some = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"])
    left = ["model.layers.*.self_attn.o_proj", "model.layers.*.mlp.gate_proj"]
    assert adapters.without_adapter(adapters.put_adapter(deepcopy(llama), some)) == left
    every = peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    assert adapters.without_adapter(adapters.put_adapter(llama, every)) == []


def test_a_router_that_answers_with_a_choice_gets_no_adapter() -> None:
    config = transformers.AutoConfig.for_model("phimoe", **{**TINY, "num_local_experts": 4})
    model = transformers.AutoModelForCausalLM.from_config(config)
    put = adapters.put_adapter(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))
    put(input_ids=torch.arange(3, 9)[None]).logits.sum().backward()
    assert not any("router" in name for name, each in put.named_parameters() if each.requires_grad)
