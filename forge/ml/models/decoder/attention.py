"""Self-attention: every head with keys of its own, or groups of heads that share them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from forge.ml.models.decoder.parts import Part

if TYPE_CHECKING:
    from transformers import Cache

    from forge.ml.models.decoder.config import DecoderConfig
    from forge.ml.models.decoder.norm import Norm

__all__ = [
    "Attention",
    "GroupedQueryAttention",
    "MultiHeadAttention",
    "SelfAttention",
    "apply_rotary_pos_emb",
    "eager_attention",
]


@dataclass(frozen=True, kw_only=True)
class Attention(Part):
    """What both kinds have.

    `head_dim` null is the hidden size divided by the heads. `qk_norm` normalises each head's queries and keys.
    With `sliding_window`, a token sees itself and that many minus one before it.
    """

    num_heads: int
    head_dim: int | None = None
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Norm | None = None
    sliding_window: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(f"num_heads is at least 1, not {self.num_heads}")
        if self.key_value_heads < 1:
            raise ValueError(f"num_key_value_heads is at least 1, not {self.key_value_heads}")
        if self.num_heads % self.key_value_heads:
            raise ValueError(
                f"num_heads is a multiple of num_key_value_heads; {self.num_heads} is none of {self.key_value_heads}"
            )
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ValueError(f"sliding_window is at least 1, or null for none, not {self.sliding_window}")

    @property
    def key_value_heads(self) -> int:
        """How many heads have keys and values."""
        return self.num_heads

    def size_of_head(self, hidden_size: int) -> int:
        """How long the vectors of one head are."""
        if self.head_dim is None and hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size {hidden_size} cannot be divided by num_heads {self.num_heads}: set head_dim, or change one"
            )
        return self.head_dim or hidden_size // self.num_heads

    def module(self, config: DecoderConfig, layer_idx: int) -> nn.Module:
        """The attention of the layer with this number."""
        return SelfAttention(self, config, layer_idx)


@dataclass(frozen=True, kw_only=True)
class MultiHeadAttention(Attention):
    """Each head has its own keys and values."""


@dataclass(frozen=True, kw_only=True)
class GroupedQueryAttention(Attention):
    """Groups of heads share keys and values; with one `num_key_value_heads`, all do."""

    num_key_value_heads: int

    @property
    def key_value_heads(self) -> int:
        """How many heads have keys and values."""
        return self.num_key_value_heads


class SelfAttention(nn.Module):
    """Attention through the interface of transformers, so that each of its implementations serves."""

    def __init__(self, part: Attention, config: DecoderConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = part.size_of_head(config.hidden_size)
        self.num_key_value_groups = part.num_heads // part.key_value_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = part.dropout
        self.sliding_window = part.sliding_window
        self.is_causal = True
        queries, keys = part.num_heads * self.head_dim, part.key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, queries, bias=part.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, keys, bias=part.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, keys, bias=part.qkv_bias)
        self.o_proj = nn.Linear(queries, config.hidden_size, bias=part.output_bias)
        # None keeps the names of families without these norms.
        self.q_norm = part.qk_norm.module(self.head_dim) if part.qk_norm else None
        self.k_norm = part.qk_norm.module(self.head_dim) if part.qk_norm else None

    def forward(
        self,
        hidden_states: torch.Tensor,
        rotation: tuple[torch.Tensor, torch.Tensor] | None = None,
        attention_mask: Any = None,
        past_key_values: Cache | None = None,
        **settings: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What each token gathers from those it may see, and the weights where the implementation has them."""
        queries, keys, values = self._heads(hidden_states)
        if rotation is not None:
            queries, keys = apply_rotary_pos_emb(queries, keys, *rotation)
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)  # noqa: SLF001 - no public name
        gathered, weights = attend(
            self,
            queries,
            keys,
            values,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=self.sliding_window,
            **settings,
        )
        return self.o_proj(gathered.reshape(*hidden_states.shape[:-1], -1).contiguous()), weights

    def _heads(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        queries = self._split(self.q_proj(hidden_states), self.q_norm)
        keys = self._split(self.k_proj(hidden_states), self.k_norm)
        values = self._split(self.v_proj(hidden_states), None)
        return queries, keys, values

    def _split(self, projected: torch.Tensor, norm: nn.Module | None) -> torch.Tensor:
        """One vector for each head, and the heads before the tokens."""
        heads = projected.view(*projected.shape[:-1], -1, self.head_dim)
        return (heads if norm is None else norm(heads)).transpose(1, 2)


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_settings: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention written out, with its weights; the other implementations are compared with it."""
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


def apply_rotary_pos_emb(
    queries: torch.Tensor, keys: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Heads of (batch, heads, tokens, width), rotated by angles of (batch, tokens, width); the name is the one in transformers."""
    cosines, sines = cosines.unsqueeze(1), sines.unsqueeze(1)
    queries = queries * cosines + _turned_by_a_quarter(queries) * sines
    return queries, keys * cosines + _turned_by_a_quarter(keys) * sines


def _turned_by_a_quarter(heads: torch.Tensor) -> torch.Tensor:
    half = heads.shape[-1] // 2
    return torch.cat((-heads[..., half:], heads[..., :half]), dim=-1)
