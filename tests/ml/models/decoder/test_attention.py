from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
decoder = pytest.importorskip("forge.ml.models.decoder")
attention = pytest.importorskip("forge.ml.models.decoder.attention")


def test_groups_of_heads_share_keys_and_values(config_of: Callable[..., Any]) -> None:
    part = decoder.GroupedQueryAttention(num_heads=8, num_key_value_heads=2, head_dim=6, qkv_bias=True)
    module = part.module(config_of(attention=part), 0)
    assert module.q_proj.weight.shape == (48, 32)
    assert module.k_proj.weight.shape == module.v_proj.weight.shape == (12, 32)
    assert module.o_proj.weight.shape == (32, 48)
    assert (module.q_proj.bias is None, module.o_proj.bias is None) == (False, True)


def test_as_many_keys_as_heads_is_multi_head_attention(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any
) -> None:
    many = model_of(config_of(attention=decoder.MultiHeadAttention(num_heads=4)))
    grouped = model_of(config_of(attention=decoder.GroupedQueryAttention(num_heads=4, num_key_value_heads=4)))
    assert torch.equal(many(tokens).logits, grouped(tokens).logits)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("window", [None, 3])
def test_every_implementation_computes_the_same(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any, heads: int, window: int | None
) -> None:
    part = decoder.GroupedQueryAttention(num_heads=4, num_key_value_heads=heads, sliding_window=window)
    eager, sdpa = (model_of(config_of(attention=part), name) for name in ("eager", "sdpa"))
    torch.testing.assert_close(eager(tokens).logits, sdpa(tokens).logits, rtol=1e-5, atol=1e-5)


def test_an_implementation_registered_with_transformers_is_asked(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any
) -> None:
    seen = []

    def ours(module: Any, *heads: Any, **settings: Any) -> Any:
        seen.append((module.layer_idx, settings["cu_seq_lens_q"], settings["position_ids"].shape))
        return attention.eager_attention(module, *heads, **settings)

    transformers.AttentionInterface.register("ours_for_a_test", ours)
    model = model_of(config_of(), "ours_for_a_test")
    model(tokens, cu_seq_lens_q="passed on")
    assert seen == [(place, "passed on", (1, 12)) for place in range(3)]


def test_a_window_hides_what_is_further_back(
    config_of: Callable[..., Any], model_of: Callable[..., Any], tokens: Any
) -> None:
    part = decoder.MultiHeadAttention(num_heads=4, sliding_window=3)
    model = model_of(config_of(attention=part, num_hidden_layers=1))
    changed = tokens.clone()
    changed[:, 2] = (changed[:, 2] + 1) % 61
    same = [torch.equal(*pair) for pair in zip(model(tokens).logits[0], model(changed).logits[0], strict=True)]
    assert same == [place not in (2, 3, 4) for place in range(12)]


def test_norms_of_queries_and_keys_are_per_head(config_of: Callable[..., Any]) -> None:
    part = decoder.MultiHeadAttention(num_heads=4, qk_norm=decoder.RMSNorm())
    module = part.module(config_of(attention=part), 0)
    queries, keys, _ = module._heads(torch.randn(2, 5, 32) * 9)
    torch.testing.assert_close(queries.pow(2).mean(-1), torch.ones(2, 4, 5), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(keys.pow(2).mean(-1), torch.ones(2, 4, 5), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": 0, "num_key_value_heads": 1}, "num_heads is at least 1, not 0"),
        ({"num_heads": 6, "num_key_value_heads": 4}, "num_heads is a multiple of num_key_value_heads; 6 is none of 4"),
        ({"num_heads": 4, "num_key_value_heads": 0}, "num_key_value_heads is at least 1, not 0"),
        ({"num_heads": 4, "num_key_value_heads": 2, "sliding_window": 0}, "sliding_window is at least 1"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder.GroupedQueryAttention(**settings)


def test_a_hidden_size_that_the_heads_do_not_divide_is_refused(config_of: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="hidden_size 32 cannot be divided by num_heads 5: set head_dim"):
        config_of(attention=decoder.MultiHeadAttention(num_heads=5))
