"""The layers of any decoder, found and wrapped."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
memory = pytest.importorskip("forge.ml.memory.blocks")

FAMILIES = {
    "LlamaConfig": "LlamaDecoderLayer",
    "MistralConfig": "MistralDecoderLayer",
    "MixtralConfig": "MixtralDecoderLayer",
    "Qwen2Config": "Qwen2DecoderLayer",
    "Qwen3MoeConfig": "Qwen3MoeDecoderLayer",
    "Gemma2Config": "Gemma2DecoderLayer",
    "GPT2Config": "GPT2Block",
    "GPTNeoXConfig": "GPTNeoXLayer",
    "OPTConfig": "OPTDecoderLayer",
    "PhiConfig": "PhiDecoderLayer",
    "BloomConfig": "BloomBlock",
    "MambaConfig": "MambaBlock",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_of_a_family_are_found(family: str) -> None:
    config = getattr(transformers, family)(num_hidden_layers=3)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert [type(block).__name__ for block in memory.blocks(model)] == [FAMILIES[family]] * 3


# peft asks transformers for a name that is about to go.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_layers_are_found_below_an_adapter(llama: Callable[..., Any]) -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(llama(), peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert [type(block).__name__ for block in memory.blocks(model)] == ["LlamaDecoderLayer"] * 4


@pytest.mark.parametrize(
    "model",
    [
        torch.nn.Linear(2, 2),
        torch.nn.Sequential(torch.nn.ModuleList([])),
        torch.nn.Sequential(torch.nn.ModuleList([torch.nn.Linear(2, 2)])),
    ],
    ids=["no list", "empty list", "list of single operations"],
)
def test_a_model_without_layers_is_named(model: Any) -> None:
    with pytest.raises(ValueError, match=f"{type(model).__name__} has no list of decoder layers"):
        memory.blocks(model)


def _doubled(inner: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: 2 * inner(self, *args, **kwargs)


def test_wrapping_changes_what_is_computed_and_no_name(llama: Callable[..., Any]) -> None:
    model = llama()
    before, block = list(model.state_dict()), memory.blocks(model)[0]
    inputs = torch.randn(1, 3, 64)
    positions = model.model.rotary_emb(inputs, torch.arange(3)[None])
    once = block(inputs, position_embeddings=positions)
    memory.wrap_forward(block, _doubled)
    memory.wrap_forward(block, _doubled)
    assert torch.equal(block(inputs, position_embeddings=positions), 4 * once)
    assert list(model.state_dict()) == before


def test_a_copy_is_wrapped_around_itself() -> None:
    block = torch.nn.Sequential(torch.nn.Linear(1, 1))
    memory.wrap_forward(block, _doubled)
    twin = copy.deepcopy(block)
    torch.nn.init.zeros_(twin[0].weight)
    torch.nn.init.zeros_(twin[0].bias)
    assert twin(torch.ones(1, 1)).item() == 0.0
    assert block(torch.ones(1, 1)).item() != 0.0


def test_a_forward_that_is_a_plain_function_is_wrapped_too() -> None:
    block = torch.nn.Identity()
    block.forward = lambda value: value + 1
    memory.wrap_forward(block, _doubled)
    assert block(3) == 8


def test_a_cache_is_seen_by_name_and_by_position() -> None:
    cache = transformers.DynamicCache()
    assert memory.holds_cache((), {"past_key_values": cache})
    assert memory.holds_cache((torch.ones(1), cache), {})
    assert not memory.holds_cache((torch.ones(1), None), {"past_key_values": None})
