from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
decoder = pytest.importorskip("forge.ml.models.decoder")
attention = pytest.importorskip("forge.ml.models.attention")
batch = pytest.importorskip("forge.ml.data.batch")

NORMS = st.sampled_from([decoder.RMSNorm(), decoder.LayerNorm(), decoder.LayerNorm(bias=False)])
POSITIONS = st.sampled_from(
    [
        decoder.Rotary(),
        decoder.Rotary(rope_type="linear", factor=2.0),
        decoder.Rotary(rope_type="yarn", factor=2.0, original_max_position_embeddings=32),
        decoder.Alibi(),
        decoder.LearnedPositions(),
        decoder.NoPositions(),
    ]
)


@st.composite
def attentions(draw: st.DrawFn, *, window: int | None) -> Any:
    shared = {
        "num_heads": 4,
        "head_dim": draw(st.sampled_from([None, 6])),
        "qkv_bias": draw(st.booleans()),
        "output_bias": draw(st.booleans()),
        "qk_norm": draw(st.none() | NORMS),
        "sliding_window": window if draw(st.booleans()) else None,
    }
    keys = draw(st.sampled_from([1, 2, None]))
    if keys is None:
        return decoder.MultiHeadAttention(**shared)
    return decoder.GroupedQueryAttention(num_key_value_heads=keys, **shared)


@st.composite
def configs(draw: st.DrawFn) -> Any:
    position, norm = draw(POSITIONS), draw(NORMS)
    kind = draw(st.sampled_from([decoder.PreNorm, decoder.PostNorm]))
    feed_forward = draw(st.sampled_from([decoder.GatedFeedForward, decoder.Mlp]))
    activation, bias = draw(st.sampled_from(["silu", "gelu"])), draw(st.booleans())
    attention = draw(attentions(window=None if isinstance(position, decoder.Alibi) else 4))
    layer = kind(
        attention=attention,
        feed_forward=feed_forward(intermediate_size=24, activation=activation, bias=bias),
        norm=norm,
    )
    return decoder.DecoderConfig(
        vocab_size=61,
        hidden_size=16,
        num_hidden_layers=2,
        max_position_embeddings=64,
        layers=[layer],
        position=position,
        norm=norm if kind is decoder.PreNorm else None,
        tie_word_embeddings=draw(st.booleans()),
    )


@settings(max_examples=40, deadline=None)
@given(config=configs(), implementation=st.sampled_from(["eager", "sdpa"]), place=st.integers(0, 11))
def test_a_later_token_never_changes_earlier_logits(
    model_of: Callable[..., Any], config: Any, implementation: str, place: int
) -> None:
    model = model_of(config, implementation)
    tokens = torch.arange(24).view(2, 12)
    changed = tokens.clone()
    changed[:, place] += 30
    before, after = model(tokens).logits, model(changed).logits
    assert torch.isfinite(before).all()
    assert torch.equal(before[:, :place], after[:, :place])
    assert not torch.equal(before[:, place], after[:, place])


@settings(max_examples=25, deadline=None)
@given(config=configs(), implementation=st.sampled_from(["eager", "sdpa"]))
def test_generation_with_a_cache_is_generation_without(
    model_of: Callable[..., Any], config: Any, implementation: str
) -> None:
    model = model_of(config, implementation)
    tokens = torch.arange(12).view(2, 6)
    wanted = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with_cache = model.generate(tokens, use_cache=True, **wanted)
    without = model.generate(tokens, use_cache=False, **wanted)
    for one, other in zip(with_cache.logits, without.logits, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(config=configs(), implementation=st.sampled_from(["eager", "sdpa"]))
def test_packed_documents_do_not_see_each_other(model_of: Callable[..., Any], config: Any, implementation: str) -> None:
    model = model_of(config, implementation)
    one, other = torch.arange(7)[None], torch.arange(20, 25)[None]
    positions = torch.cat((torch.arange(7), torch.arange(5)))[None]
    packed = model(torch.cat((one, other), dim=1), position_ids=positions, use_cache=False).logits
    apart = torch.cat((model(one).logits, model(other).logits), dim=1)
    torch.testing.assert_close(packed, apart, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(config=configs())
def test_packed_documents_do_not_see_each_other_by_their_bounds_alone(
    model_of: Callable[..., Any], config: Any
) -> None:
    model = model_of(config, attention.DOCUMENTS)
    one, other = torch.arange(7)[None], torch.arange(20, 25)[None]
    tokens = torch.cat((one, other), dim=1)
    positions, lengths = torch.cat((torch.arange(7), torch.arange(5)))[None], torch.tensor([7, 5], dtype=torch.int32)
    packed = batch.Batch(tokens, tokens, positions, lengths, 12, 12)
    found = model(tokens, **attention.attention_inputs(packed, attention.DOCUMENTS)).logits
    plain = model_of(config)
    apart = torch.cat((plain(one).logits, plain(other).logits), dim=1)
    torch.testing.assert_close(found, apart, rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(config=configs())
def test_checkpointed_layers_have_the_same_gradients(model_of: Callable[..., Any], config: Any) -> None:
    plain, checkpointed = model_of(config).train(), model_of(config).train()
    checkpointed.activation_checkpointing_enable()
    tokens = torch.arange(24).view(2, 12)
    for model in (plain, checkpointed):
        model(tokens, labels=tokens).loss.backward()
    for (name, one), other in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert one.grad is not None, name
        assert torch.equal(one.grad, other.grad), name


@pytest.mark.parametrize("position", [decoder.Rotary(), decoder.Alibi(), decoder.LearnedPositions()])
def test_padding_on_the_left_changes_nothing(
    config_of: Callable[..., Any], model_of: Callable[..., Any], position: Any
) -> None:
    model = model_of(config_of(position=position))
    tokens = torch.arange(1, 9)[None]
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), tokens), dim=1)
    mask = (torch.arange(11) >= 3).long()[None]
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    alone = model.generate(tokens, attention_mask=torch.ones_like(tokens), **options)
    assert torch.equal(model.generate(padded, attention_mask=mask, **options)[:, 3:], alone)


@pytest.mark.parametrize("position", [decoder.Rotary(), decoder.Alibi()])
def test_a_static_cache_generates_the_same(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any, position: Any
) -> None:
    model = model_of(config_of(position=position))
    options = {"max_new_tokens": 4, "do_sample": False, "attention_mask": torch.ones_like(tokens), "pad_token_id": 0}
    static = model.generate(tokens, cache_implementation="static", disable_compile=True, **options)
    assert torch.equal(static, model.generate(tokens, **options))


def test_only_the_asked_logits_are_computed(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any
) -> None:
    model = model_of(config_of())
    whole = model(tokens).logits
    torch.testing.assert_close(model(tokens, logits_to_keep=2).logits, whole[:, -2:])
    torch.testing.assert_close(model(tokens, logits_to_keep=torch.tensor([3, 5])).logits, whole[:, [3, 5]])


def test_outputs_of_layers_and_attention_are_recorded(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any
) -> None:
    found = model_of(config_of(), "eager")(tokens, output_hidden_states=True, output_attentions=True)
    assert len(found.hidden_states) == 4
    assert [weights.shape for weights in found.attentions] == [(2, 4, 12, 12)] * 3


def test_it_is_made_like_every_model_of_transformers(
    config_of: Callable[..., Any], model_of: Callable[..., Any]
) -> None:
    model = model_of(config_of(tie_word_embeddings=True))
    assert model.get_input_embeddings() is model.model.embed_tokens
    assert model.get_output_embeddings().weight is model.model.embed_tokens.weight
    assert model.base_model is model.model
    assert model.supports_tp_plan
    assert "layers.*.self_attn.q_proj" in model.config.base_model_tp_plan
    model.resize_token_embeddings(70)
    assert (model.config.vocab_size, model.lm_head.weight.shape[0]) == (70, 70)


def test_what_adds_to_the_stream_begins_smaller_by_gpt2s_rule(config_of: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    config = config_of(hidden_size=128, num_hidden_layers=8, scaled_residual_init=True)
    layer = transformers.AutoModelForCausalLM.from_config(config).model.layers[0]
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.self_attn.o_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)


def test_tokens_or_their_embeddings_are_needed(config_of: Callable[..., Any], model_of: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="give either input_ids or inputs_embeds"):
        model_of(config_of())()
