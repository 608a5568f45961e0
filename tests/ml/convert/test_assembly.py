from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from forge.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
assembly = pytest.importorskip("forge.ml.convert.assembly")
decoder = pytest.importorskip("forge.ml.models.decoder")
source = pytest.importorskip("forge.ml.convert.source")
SIZES = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
WINDOWS = ["full_attention", "full_attention", "sliding_attention"]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (
            "llama",
            {
                "attention_bias": True,
                "num_key_value_heads": 2,
                "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4},
            },
        ),
        ("mistral", {"sliding_window": None, "num_key_value_heads": 2}),
        ("qwen3", {"layer_types": WINDOWS, "sliding_window": 8, "use_sliding_window": True, "num_key_value_heads": 4}),
        ("gpt2", {"n_inner": 40, "n_embd": 32, "n_head": 4, "n_layer": 2}),
    ],
)
def test_a_config_there_and_back_is_the_same(kind: str, settings: dict[str, Any]) -> None:
    config = transformers.AutoConfig.for_model(kind, **({} if kind == "gpt2" else SIZES), **settings)
    back = assembly.known_config(assembly.assembled_config(config))
    for name in ("hidden_size", "num_hidden_layers", "vocab_size", "layer_types", "sliding_window", "n_inner"):
        assert getattr(back, name, None) == getattr(config, name, None)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("phi", {}, "no assembly for the architecture phi"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights=False"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
            "partial_rotary_factor",
        ),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(kind: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        assembly.assembled_config(transformers.AutoConfig.for_model(kind, **settings))


def test_an_assembly_of_its_own_is_nothing_known() -> None:
    attention = decoder.MultiHeadAttention(num_heads=4)
    layer = decoder.PreNorm(attention=attention, feed_forward=decoder.Mlp(intermediate_size=40), norm=decoder.RMSNorm())
    config = decoder.DecoderConfig(
        vocab_size=96, hidden_size=32, layers=[layer], position=decoder.Alibi(), norm=decoder.RMSNorm()
    )
    assert assembly.known_config(config) is None


def test_gpt2_s_matrices_turn_there_and_back(model_folder: Callable[..., Path]) -> None:
    with source.open_source(str(model_folder("gpt2"))) as found:
        old = {name.removeprefix("transformer."): one for name, one in found.tensors.items()}
        parts = assembly.as_assembly(found.config, old)
        assert parts["model.layers.0.self_attn.k_proj.weight"].shape == (32, 32)
        assert parts["model.layers.1.mlp.up_proj.weight"].shape == (128, 32)
        assert parts["model.layers.1.mlp.up_proj.weight"].read().shape == (128, 32)
        back = assembly.as_known(found.config, parts)
        assert back.keys() == found.tensors.keys()
        assert all(torch.equal(back[name].read(), one.read()) for name, one in found.tensors.items())
        for one in (*parts.values(), *back.values()):
            assert one.part is not None
            assert torch.equal(torch.cat(list(one.portions(200))), one.read())
