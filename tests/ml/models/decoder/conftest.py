"""Small assemblies to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
decoder = pytest.importorskip("forge.ml.models.decoder")

HIDDEN = 32
VOCABULARY = 61


def small_config(**changes: Any) -> Any:
    """A small Llama from parts; a part or a setting given by name takes the place of Llama's."""
    norm = changes.pop("norm", decoder.RMSNorm())
    layer = {
        "attention": decoder.GroupedQueryAttention(num_heads=4, num_key_value_heads=2),
        "feed_forward": decoder.GatedFeedForward(intermediate_size=48),
        "norm": norm,
    }
    layer |= {name: changes.pop(name) for name in ("attention", "feed_forward", "dropout") if name in changes}
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 3,
        "max_position_embeddings": 64,
        "layers": [decoder.PreNorm(**layer)],
        "position": decoder.Rotary(),
        "norm": norm,
    }
    return decoder.DecoderConfig(**settings | changes)


def small_model(config: Any, implementation: str = "sdpa") -> Any:
    """The model of a config, the same each time, with norms and biases that are not what they begin with."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=implementation)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model.eval()


@pytest.fixture(scope="session")
def config_of() -> Callable[..., Any]:
    """A function that makes the config of a small assembly."""
    return small_config


@pytest.fixture(scope="session")
def model_of() -> Callable[..., Any]:
    """A function that makes the model of a config."""
    return small_model


@pytest.fixture
def tokens() -> Any:
    """Two rows of tokens."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, VOCABULARY, (2, 12), generator=generator)
