from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
llama = pytest.importorskip("transformers.models.llama.modeling_llama")
decoder = pytest.importorskip("forge.ml.models.decoder")
position = pytest.importorskip("forge.ml.models.decoder.position")

ROPE = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 24.0, "beta_slow": 2.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}


def _pair(config_of: Callable[..., Any], rope_type: str) -> tuple[Any, Any]:
    part = decoder.Rotary(rope_theta=5000.0, rope_type=rope_type, **ROPE[rope_type])
    theirs = transformers.LlamaConfig(
        hidden_size=32, num_attention_heads=4, max_position_embeddings=64, rope_parameters=part.parameters()
    )
    return part.rotary(config_of(position=part)), llama.LlamaRotaryEmbedding(theirs)


@pytest.mark.parametrize("rope_type", sorted(ROPE))
@pytest.mark.parametrize("length", [10, 64, 200])
def test_rotations_are_those_of_transformers(config_of: Callable[..., Any], rope_type: str, length: int) -> None:
    ours, theirs = _pair(config_of, rope_type)
    hidden, positions = torch.randn(2, length, 32), torch.arange(length)[None]
    # Back and forth, because the dynamic kind changes its frequencies with the length and has to change them back.
    for upto in (length, 5, length):
        found, expected = ours(hidden, positions[:, :upto]), theirs(hidden, positions[:, :upto])
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert torch.equal(ours.inv_freq, theirs.inv_freq)


def test_rotations_are_in_the_type_of_the_hidden_states(config_of: Callable[..., Any]) -> None:
    ours, _ = _pair(config_of, "yarn")
    cosines, sines = ours(torch.randn(1, 4, 32, dtype=torch.bfloat16), torch.arange(4)[None])
    assert cosines.dtype == sines.dtype == torch.bfloat16


def test_rotations_survive_the_meta_device(config_of: Callable[..., Any], model_of: Callable[..., Any]) -> None:
    config = config_of(position=decoder.Rotary(rope_type="llama3", **ROPE["llama3"]))
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.to_empty(device="cpu")
    model.init_weights()
    assert torch.equal(model.model.rotary_emb.inv_freq, model_of(config).model.rotary_emb.inv_freq)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rope_type": "spiral"}, "rope_type is one of default, linear, dynamic, yarn, llama3, not 'spiral'"),
        ({"rope_type": "linear"}, "rope_type is linear: factor has to be set"),
        ({"rope_type": "llama3", "factor": 8.0}, "low_freq_factor and high_freq_factor and original_max_position"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.Rotary(**settings)


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        (8, [2.0**-i for i in range(1, 9)]),
        (4, [2.0**-i for i in (2, 4, 6, 8)]),
        # Not a power of two: the series of four heads, then every second term of the series of eight.
        (6, [2.0**-i for i in (2, 4, 6, 8, 1, 3)]),
    ],
)
def test_slopes_of_alibi(config_of: Callable[..., Any], heads: int, expected: list[float]) -> None:
    config = config_of(
        hidden_size=heads * 4, attention=decoder.MultiHeadAttention(num_heads=heads), position=decoder.Alibi()
    )
    assert config.position.bias(config).slopes(torch.device("cpu")).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("heads", [4, 6])
def test_attention_with_alibi_is_the_formula(
    config_of: Callable[..., Any], model_of: Callable[..., Any], implementation: str, heads: int
) -> None:
    attention = decoder.MultiHeadAttention(num_heads=heads)
    config = config_of(hidden_size=24, attention=attention, position=decoder.Alibi(), num_hidden_layers=1)
    model = model_of(config, implementation).model
    hidden, module = torch.randn(2, 7, 24), model.layers[0].self_attn
    mask = model._masks(hidden, None, torch.arange(7)[None], None)["full_attention"]
    found, _ = module(hidden, attention_mask=mask)
    queries, keys, values = module._heads(hidden)
    scores = queries @ keys.transpose(2, 3) / (24 // heads) ** 0.5
    for head, slope in enumerate(model.position_bias.slopes(torch.device("cpu")).tolist()):
        for later in range(7):
            for earlier in range(7):
                reachable = earlier <= later
                scores[:, head, later, earlier] += -slope * (later - earlier) if reachable else -torch.inf
    expected = module.o_proj((scores.softmax(-1) @ values).transpose(1, 2).reshape(2, 7, -1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_alibi_says_which_implementations_have_no_place_for_it(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any
) -> None:
    model = model_of(config_of(position=decoder.Alibi()))
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match="which attn_implementation flex_attention has no place for: set it to sdpa"):
        model(tokens)


def test_learned_positions_are_added_to_the_embeddings(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any
) -> None:
    model = model_of(config_of(position=decoder.LearnedPositions()))
    embedded = model.model.embed_tokens(tokens) + model.model.embed_positions.weight[: tokens.shape[1]]
    without = model_of(config_of(position=decoder.NoPositions()))
    without.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(model(tokens).logits, without(inputs_embeds=embedded).logits)


def test_without_positions_only_the_mask_tells_order(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any
) -> None:
    model = model_of(config_of(position=decoder.NoPositions()))
    swapped = tokens[:, [1, 0, *range(2, 12)]]
    before, after = model(tokens).logits, model(swapped).logits
    assert not torch.allclose(before[:, 1], after[:, 1])
    shifted = model(tokens, position_ids=torch.arange(12)[None] + 30).logits
    torch.testing.assert_close(before, shifted)
