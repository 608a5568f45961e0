"""Feed-forward networks: gated and plain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from transformers.activations import ACT2FN

from forge.ml.models.decoder.parts import Part

if TYPE_CHECKING:
    import torch

__all__ = ["FeedForward", "GatedFeedForward", "GatedNetwork", "Mlp", "PlainNetwork"]


@dataclass(frozen=True, kw_only=True)
class FeedForward(Part):
    """What both kinds have: how wide they are inside, and their activation by its name in transformers."""

    intermediate_size: int
    activation: str = "silu"
    bias: bool = False

    def __post_init__(self) -> None:
        if self.intermediate_size < 1:
            raise ValueError(f"intermediate_size is at least 1, not {self.intermediate_size}")
        if self.activation not in ACT2FN:
            raise ValueError(f"activation is one of {', '.join(sorted(ACT2FN))}, not {self.activation!r}")

    def module(self, hidden_size: int) -> nn.Module:
        """The network between vectors of this size."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GatedFeedForward(FeedForward):
    """A gated linear unit: one projection, activated, opens the other (SwiGLU with silu, GeGLU with gelu)."""

    def module(self, hidden_size: int) -> nn.Module:
        """The network between vectors of this size."""
        return GatedNetwork(self, hidden_size)


@dataclass(frozen=True, kw_only=True)
class Mlp(FeedForward):
    """Two projections with an activation between them."""

    activation: str = "gelu"
    bias: bool = True

    def module(self, hidden_size: int) -> nn.Module:
        """The network between vectors of this size."""
        return PlainNetwork(self, hidden_size)


class GatedNetwork(nn.Module):
    """down(activation(gate(x)) * up(x))."""

    def __init__(self, part: GatedFeedForward, hidden_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, part.intermediate_size, bias=part.bias)
        self.up_proj = nn.Linear(hidden_size, part.intermediate_size, bias=part.bias)
        self.down_proj = nn.Linear(part.intermediate_size, hidden_size, bias=part.bias)
        self.act_fn = ACT2FN[part.activation]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        return self.down_proj(self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class PlainNetwork(nn.Module):
    """down(activation(up(x)))."""

    def __init__(self, part: Mlp, hidden_size: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(hidden_size, part.intermediate_size, bias=part.bias)
        self.down_proj = nn.Linear(part.intermediate_size, hidden_size, bias=part.bias)
        self.act_fn = ACT2FN[part.activation]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The network's output."""
        return self.down_proj(self.act_fn(self.up_proj(hidden_states)))
