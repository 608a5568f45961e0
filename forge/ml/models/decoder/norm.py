"""Norms: RMSNorm and LayerNorm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from forge.ml.models.decoder.parts import Part

__all__ = ["DecoderRMSNorm", "LayerNorm", "Norm", "RMSNorm"]


@dataclass(frozen=True)
class RMSNorm(Part):
    """Divide by the root of the mean square, computed in float32, and scale."""

    eps: float = 1e-6

    def module(self, size: int) -> nn.Module:
        """The norm of vectors of this size."""
        return DecoderRMSNorm(size, self.eps)


@dataclass(frozen=True)
class LayerNorm(Part):
    """Subtract the mean, divide by the deviation, scale and, with `bias`, shift."""

    eps: float = 1e-5
    bias: bool = True

    def module(self, size: int) -> nn.Module:
        """The norm of vectors of this size."""
        return nn.LayerNorm(size, eps=self.eps, bias=self.bias)


Norm: TypeAlias = RMSNorm | LayerNorm


class DecoderRMSNorm(nn.Module):
    """RMSNorm with the rounding of the Llama family: scaled after the result is back in the input's type."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.variance_epsilon = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """The normalised vectors."""
        wide = hidden_states.to(torch.float32)
        variance = wide.pow(2).mean(-1, keepdim=True)
        normalised = wide * torch.rsqrt(variance + self.variance_epsilon)
        return self.weight * normalised.to(hidden_states.dtype)

    def extra_repr(self) -> str:
        """Size and epsilon."""
        return f"{tuple(self.weight.shape)}, eps={self.variance_epsilon}"
