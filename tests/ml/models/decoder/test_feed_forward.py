from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
feed_forward = pytest.importorskip("forge.ml.models.decoder.feed_forward")
functional = torch.nn.functional


@pytest.mark.parametrize(("activation", "function"), [("silu", functional.silu), ("gelu", functional.gelu)])
def test_a_gated_network_multiplies_two_projections(activation: str, function: Any) -> None:
    module = feed_forward.GatedFeedForward(intermediate_size=12, activation=activation, bias=True).module(8)
    vectors = torch.randn(2, 8)
    expected = module.down_proj(function(module.gate_proj(vectors)) * module.up_proj(vectors))
    torch.testing.assert_close(module(vectors), expected)
    assert module.gate_proj.bias is not None


def test_a_plain_network_has_two_projections() -> None:
    module = feed_forward.Mlp(intermediate_size=12).module(8)
    vectors = torch.randn(2, 8)
    torch.testing.assert_close(module(vectors), module.down_proj(functional.gelu(module.up_proj(vectors))))
    assert [name for name, _ in module.named_parameters()] == [
        *("up_proj.weight", "up_proj.bias"),
        *("down_proj.weight", "down_proj.bias"),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"intermediate_size": 0}, "intermediate_size is at least 1, not 0"),
        ({"intermediate_size": 8, "activation": "swoosh"}, "activation is one of .*silu.*, not 'swoosh'"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        feed_forward.Mlp(**settings)
