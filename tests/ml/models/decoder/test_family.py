from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
models = pytest.importorskip("forge.ml.models")
decoder = pytest.importorskip("forge.ml.models.decoder")
family = pytest.importorskip("forge.ml.models.decoder.family")

Heads, Gated = decoder.GroupedQueryAttention, decoder.GatedFeedForward
TWO = {"num_heads": 4, "num_key_value_heads": 2}
GPT2 = {
    "attention": decoder.MultiHeadAttention(num_heads=4, qkv_bias=True, output_bias=True),
    "feed_forward": decoder.Mlp(intermediate_size=128, activation="gelu_new"),
    "norm": decoder.LayerNorm(),
    "position": decoder.LearnedPositions(),
    "tie_word_embeddings": True,
    "scaled_residual_init": True,
}
LLAMA3 = decoder.Rotary(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16
)
ASSEMBLIES = {
    "llama": ("llama", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, biases": (
        "llama",
        {
            "attention": Heads(**TWO, qkv_bias=True, output_bias=True),
            "feed_forward": Gated(intermediate_size=48, bias=True),
        },
    ),
    "llama, multi-head": ("llama", {"attention": decoder.MultiHeadAttention(num_heads=4)}),
    "llama 3": ("llama", {"position": LLAMA3, "attention": Heads(**TWO, head_dim=16)}),
    "mistral": ("mistral", {"attention": Heads(**TWO, sliding_window=5)}),
    "qwen2": ("qwen2", {"attention": Heads(**TWO, qkv_bias=True)}),
    "qwen2, some windows": (
        "qwen2",
        {
            "attention": Heads(**TWO, qkv_bias=True),
            "replaced": {
                1: decoder.PreNorm(
                    attention=Heads(**TWO, qkv_bias=True, sliding_window=5),
                    feed_forward=Gated(intermediate_size=48),
                    norm=decoder.RMSNorm(),
                )
            },
        },
    ),
    "qwen3": ("qwen3", {"attention": Heads(**TWO, head_dim=12, qk_norm=decoder.RMSNorm())}),
    "gpt2": ("gpt2", GPT2),
}


def _both(model_of: Callable[..., Any], config: Any, implementation: str) -> tuple[Any, Any]:
    """The assembly, and the known architecture with its weights."""
    ours = model_of(config, implementation)
    found = family.as_family(ours)
    theirs = transformers.AutoModelForCausalLM.from_config(found.config, attn_implementation=implementation).eval()
    theirs.load_state_dict(found.to_family(ours.state_dict()))
    theirs.tie_weights()
    return ours, theirs


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", sorted(name for name in ASSEMBLIES if name != "gpt2"))
def test_logits_and_gradients_are_the_familys_bit_for_bit(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any, name: str, implementation: str
) -> None:
    kind, changes = ASSEMBLIES[name]
    ours, theirs = _both(model_of, config_of(**changes), implementation)
    assert theirs.config.model_type == kind
    losses = [model.train()(tokens, labels=tokens).loss for model in (ours, theirs)]
    assert torch.equal(ours(tokens).logits, theirs(tokens).logits)
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    expected = dict(theirs.named_parameters())
    assert {parameter for parameter, _ in ours.named_parameters()} == set(expected)
    for parameter, value in ours.named_parameters():
        assert torch.equal(value.grad, expected[parameter].grad), parameter


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_gpt2_is_the_same_but_for_the_order_of_its_sums(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any, implementation: str
) -> None:
    # GPT-2 projects queries, keys and values by one matrix that lies the other way round.
    ours, theirs = _both(model_of, config_of(**GPT2), implementation)
    assert theirs.config.model_type == "gpt2"
    torch.testing.assert_close(ours(tokens).logits, theirs(tokens).logits, rtol=1e-5, atol=1e-5)
    for model in (ours, theirs):
        model(tokens, labels=tokens).loss.backward()
    gradients = family.as_family(ours).to_family({name: value.grad for name, value in ours.named_parameters()})
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(ASSEMBLIES))
def test_a_familys_folder_is_read_back_into_the_assembly(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    config = config_of(**ASSEMBLIES[name][1])
    ours = model_of(config)
    ours.save_pretrained(tmp_path)
    found = models.causal_lm(config=config, path=str(tmp_path))
    assert type(found) is decoder.AssembledForCausalLM
    read = found.state_dict()
    assert read.keys() == ours.state_dict().keys()
    assert all(torch.equal(value, read[key]) for key, value in ours.state_dict().items())


def test_new_weights_are_those_of_llama(config_of: Callable[..., Any]) -> None:
    config = config_of()
    torch.manual_seed(3)
    ours = transformers.AutoModelForCausalLM.from_config(config)
    torch.manual_seed(3)
    theirs = transformers.AutoModelForCausalLM.from_config(family.as_family(ours).config)
    expected = theirs.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    "changes",
    [
        {"position": decoder.Alibi()},
        {"position": decoder.NoPositions()},
        {"norm": decoder.LayerNorm()},
        {"feed_forward": decoder.Mlp(intermediate_size=48)},
        {"attention": Heads(**TWO, qk_norm=decoder.LayerNorm())},
        {"attention": Heads(**TWO, output_bias=True)},
        {"attention": Heads(**TWO, sliding_window=5, qkv_bias=True, output_bias=True)},
        {"dropout": 0.1},
        {"embedding_dropout": 0.1},
        {**GPT2, "scaled_residual_init": False},
        {**GPT2, "norm": decoder.LayerNorm(bias=False)},
        {**GPT2, "attention": Heads(**TWO, qkv_bias=True, output_bias=True)},
        {
            "replaced": {
                1: decoder.PreNorm(
                    attention=Heads(**TWO), feed_forward=Gated(intermediate_size=24), norm=decoder.RMSNorm()
                )
            }
        },
    ],
)
def test_what_is_no_known_architecture_is_none(
    config_of: Callable[..., Any], model_of: Callable[..., Any], changes: dict[str, Any]
) -> None:
    assert family.as_family(model_of(config_of(**changes))) is None


@dataclass(frozen=True)
class OwnNorm(decoder.RMSNorm):
    pass


@dataclass(frozen=True, kw_only=True)
class OwnAttention(Heads):
    pass


@dataclass(frozen=True, kw_only=True)
class OwnFeedForward(Gated):
    pass


@dataclass(frozen=True, kw_only=True)
class OwnPosition(decoder.Rotary):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": OwnNorm()},
        {"attention": OwnAttention(**TWO)},
        {"attention": Heads(**TWO, qk_norm=OwnNorm())},
        {"feed_forward": OwnFeedForward(intermediate_size=48)},
        {"position": OwnPosition()},
    ],
)
def test_a_part_of_somebodys_own_is_no_known_architecture(
    config_of: Callable[..., Any], model_of: Callable[..., Any], changes: dict[str, Any]
) -> None:
    assert family.as_family(model_of(config_of(**changes))) is None


def test_post_norm_is_no_known_architecture(config_of: Callable[..., Any], model_of: Callable[..., Any]) -> None:
    layer = decoder.PostNorm(attention=Heads(**TWO), feed_forward=Gated(intermediate_size=48), norm=decoder.RMSNorm())
    assert family.as_family(model_of(config_of(layers=[layer]))) is None


def test_a_model_that_is_no_assembly_is_left_alone() -> None:
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    assert family.as_family(transformers.LlamaForCausalLM(config)) is None
