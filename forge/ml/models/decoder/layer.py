"""Layers: attention and a feed-forward network, each added to the stream of hidden states, normalised before or after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from forge.ml.models.decoder.parts import Part

if TYPE_CHECKING:
    import torch

    from forge.ml.models.decoder.attention import Attention
    from forge.ml.models.decoder.config import DecoderConfig
    from forge.ml.models.decoder.feed_forward import FeedForward
    from forge.ml.models.decoder.norm import Norm

__all__ = ["DecoderLayer", "LayerPart", "PostNorm", "PostNormLayer", "PreNorm", "PreNormLayer", "dropout_of"]


@dataclass(frozen=True, kw_only=True)
class LayerPart(Part):
    """What both kinds have; `dropout` falls on what attention and feed-forward add."""

    attention: Attention
    feed_forward: FeedForward
    norm: Norm
    dropout: float = 0.0
    normalises_stream: ClassVar[bool] = False

    def module(self, config: DecoderConfig, layer_idx: int) -> nn.Module:
        """The layer with this number."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PreNorm(LayerPart):
    """x + f(norm(x)): the stream itself is never normalised, so the stack ends with a norm of its own."""

    def module(self, config: DecoderConfig, layer_idx: int) -> nn.Module:
        """The layer with this number."""
        return PreNormLayer(self, config, layer_idx)


@dataclass(frozen=True, kw_only=True)
class PostNorm(LayerPart):
    """norm(x + f(x)): the stream is normalised after each addition, so the stack needs no norm at its end."""

    normalises_stream: ClassVar[bool] = True

    def module(self, config: DecoderConfig, layer_idx: int) -> nn.Module:
        """The layer with this number."""
        return PostNormLayer(self, config, layer_idx)


class DecoderLayer(GradientCheckpointingLayer):
    """What the layers have in common: `transformers` can record their outputs and recompute them in the backward pass."""

    def __init__(self, part: LayerPart, config: DecoderConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = part.attention.module(config, layer_idx)
        self.mlp = part.feed_forward.module(config.hidden_size)
        self.dropout = dropout_of(part.dropout)
        # The rule by which weights begin may treat these two apart.
        self.self_attn.o_proj.adds_to_stream = self.mlp.down_proj.adds_to_stream = True


class PreNormLayer(DecoderLayer):
    """x + attention(norm(x)), then the same with the feed-forward network."""

    def __init__(self, part: LayerPart, config: DecoderConfig, layer_idx: int) -> None:
        super().__init__(part, config, layer_idx)
        self.input_layernorm = part.norm.module(config.hidden_size)
        self.post_attention_layernorm = part.norm.module(config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, **settings: Any) -> torch.Tensor:
        """The stream after this layer."""
        attended, _ = self.self_attn(self.input_layernorm(hidden_states), **settings)
        hidden_states = hidden_states + self.dropout(attended)
        return hidden_states + self.dropout(self.mlp(self.post_attention_layernorm(hidden_states)))


class PostNormLayer(DecoderLayer):
    """norm(x + attention(x)), then the same with the feed-forward network."""

    def __init__(self, part: LayerPart, config: DecoderConfig, layer_idx: int) -> None:
        super().__init__(part, config, layer_idx)
        self.post_attention_layernorm = part.norm.module(config.hidden_size)
        self.post_feedforward_layernorm = part.norm.module(config.hidden_size)

    def forward(self, hidden_states: torch.Tensor, **settings: Any) -> torch.Tensor:
        """The stream after this layer."""
        attended, _ = self.self_attn(hidden_states, **settings)
        hidden_states = self.post_attention_layernorm(hidden_states + self.dropout(attended))
        return self.post_feedforward_layernorm(hidden_states + self.dropout(self.mlp(hidden_states)))


def dropout_of(share: float) -> nn.Module:
    """Dropout of this share; none at all for 0, because torch's would draw random numbers and keep a mask even then."""
    return nn.Dropout(share) if share else nn.Identity()
