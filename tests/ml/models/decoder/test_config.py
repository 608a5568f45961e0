from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch
transformers = pytest.importorskip("transformers")
decoder = pytest.importorskip("forge.ml.models.decoder")


def _layer(**attention: Any) -> Any:
    return decoder.PreNorm(
        attention=decoder.MultiHeadAttention(num_heads=4, **attention),
        feed_forward=decoder.Mlp(intermediate_size=8),
        norm=decoder.RMSNorm(),
    )


def test_a_config_goes_to_a_folder_and_comes_back(config_of: Callable[..., Any], tmp_path: Path) -> None:
    config = config_of(layers=[_layer(), _layer(sliding_window=4)], replaced={2: _layer(qkv_bias=True)})
    config.save_pretrained(tmp_path)
    found = transformers.AutoConfig.from_pretrained(tmp_path)
    assert isinstance(found, decoder.DecoderConfig)
    assert [found.layers, found.replaced, found.position, found.norm] == [
        config.layers,
        config.replaced,
        config.position,
        config.norm,
    ]
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["rope_parameters"] == {"rope_type": "default", "rope_theta": 10000.0}
    assert written["auto_map"]["AutoModelForCausalLM"] == "modeling_forge_decoder.DecoderForCausalLM"


def test_the_pattern_repeats_and_single_layers_are_replaced(config_of: Callable[..., Any]) -> None:
    whole, local, other = _layer(), _layer(sliding_window=4), _layer(qkv_bias=True)
    config = config_of(num_hidden_layers=5, layers=[whole, local], replaced={"3": other})
    assert list(config.stack) == [whole, local, whole, other, whole]
    assert config.layer_types == ["full_attention", "sliding_attention", *["full_attention"] * 3]
    assert config.sliding_window == 4


def test_what_other_tools_ask_for_is_there(config_of: Callable[..., Any]) -> None:
    config = config_of()
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 2, 8)
    assert (config.intermediate_size, config.sliding_window) == (48, None)


def test_a_stack_that_is_normalised_already_ends_without_a_norm(config_of: Callable[..., Any]) -> None:
    post = decoder.PostNorm(**vars(_layer()))
    assert config_of().last_norm == decoder.RMSNorm()
    assert config_of(layers=[post]).last_norm is None
    assert config_of(layers=[post, _layer()], num_hidden_layers=4).last_norm == decoder.RMSNorm()


def test_fewer_layers_can_be_asked_for_afterwards(config_of: Callable[..., Any]) -> None:
    config = config_of()
    config.num_hidden_layers = 1
    assert len(config.stack) == len(config.layer_types) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": []}, "layers is a list of at least one layer"),
        ({"position": None}, "position is one of the parts"),
        ({"replaced": {7: _layer()}}, "replaced names layers from 0 to 2, not 7"),
        ({"layers": [_layer(sliding_window=4), _layer(sliding_window=8)]}, "sliding_window is the same wherever it is"),
        ({"layers": [_layer(), _layer(head_dim=6)]}, "head_dim is the same in each layer when positions are rotated"),
        ({"layers": [_layer(head_dim=7)]}, "head_dim is even when positions are rotated, not 7"),
        ({"layers": [_layer(sliding_window=4)], "position": decoder.Alibi()}, "sliding_window and position alibi"),
        (
            {
                "replaced": {
                    0: decoder.PreNorm(**{**vars(_layer()), "attention": decoder.MultiHeadAttention(num_heads=2)})
                },
                "position": decoder.Alibi(),
            },
            "num_heads is the same in each layer when position is alibi",
        ),
    ],
)
def test_what_cannot_be_is_refused(config_of: Callable[..., Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(**changes)
