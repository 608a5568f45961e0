from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
decoder = pytest.importorskip("forge.ml.models.decoder")
layer = pytest.importorskip("forge.ml.models.decoder.layer")


def _module(config_of: Callable[..., Any], kind: Any) -> Any:
    part = kind(
        attention=decoder.MultiHeadAttention(num_heads=4),
        feed_forward=decoder.Mlp(intermediate_size=48),
        norm=decoder.LayerNorm(),
    )
    config = config_of(layers=[part], norm=None, position=decoder.NoPositions())
    config._attn_implementation = "eager"
    return part.module(config, 0)


def test_pre_norm_leaves_the_stream_as_it_is(config_of: Callable[..., Any]) -> None:
    module, hidden = _module(config_of, decoder.PreNorm), torch.randn(2, 5, 32)
    middle = hidden + module.self_attn(module.input_layernorm(hidden))[0]
    expected = middle + module.mlp(module.post_attention_layernorm(middle))
    torch.testing.assert_close(module(hidden), expected)


def test_post_norm_normalises_the_stream(config_of: Callable[..., Any]) -> None:
    module, hidden = _module(config_of, decoder.PostNorm), torch.randn(2, 5, 32)
    middle = module.post_attention_layernorm(hidden + module.self_attn(hidden)[0])
    expected = module.post_feedforward_layernorm(middle + module.mlp(middle))
    torch.testing.assert_close(module(hidden), expected)
    torch.testing.assert_close(expected.mean(-1), torch.zeros(2, 5), rtol=0, atol=1e-6)


def test_dropout_falls_on_what_is_added_and_only_in_training(config_of: Callable[..., Any], tokens: Any) -> None:
    torch.manual_seed(0)
    model = decoder.AssembledForCausalLM(config_of(dropout=0.5, embedding_dropout=0.1))
    assert not torch.equal(model.train()(tokens).logits, model(tokens).logits)
    assert torch.equal(model.eval()(tokens).logits, model(tokens).logits)


def test_no_dropout_draws_no_random_number() -> None:
    assert isinstance(layer.dropout_of(0.0), torch.nn.Identity)
    assert layer.dropout_of(0.25).p == 0.25
