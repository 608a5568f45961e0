"""How a decoder knows the order of its tokens: rotary embeddings, ALiBi, learned embeddings, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

from forge.ml.models.decoder.parts import Part

if TYPE_CHECKING:
    from transformers import Cache

    from forge.ml.models.decoder.config import DecoderConfig

__all__ = ["Alibi", "AlibiBias", "DecoderRotaryEmbedding", "LearnedPositions", "NoPositions", "Position", "Rotary"]

# The kinds of rotary embeddings, each with the settings it cannot do without.
_ROPE_TYPES = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
# Implementations of attention that take no mask, or none of numbers.
_WITHOUT_BIAS = ("flash_attention", "flex_attention", "paged")


@dataclass(frozen=True, kw_only=True)
class Position(Part):
    """Where positions enter: added to the embeddings, turned into queries and keys, or added to attention scores."""

    def embedding(self, config: DecoderConfig) -> nn.Module | None:
        """What gives, for position numbers, the vectors to add to the embeddings."""

    def rotary(self, config: DecoderConfig) -> nn.Module | None:
        """What gives, for position numbers, the cosines and sines that rotate queries and keys."""

    def bias(self, config: DecoderConfig) -> nn.Module | None:
        """What turns the attention mask into a mask with a bias for each distance."""


@dataclass(frozen=True, kw_only=True)
class NoPositions(Position):
    """No position anywhere: order is known through the causal mask alone."""


@dataclass(frozen=True, kw_only=True)
class LearnedPositions(Position):
    """A learned vector for each position, as many as `max_position_embeddings`."""

    def embedding(self, config: DecoderConfig) -> nn.Module:
        """The table of vectors."""
        return nn.Embedding(config.max_position_embeddings, config.hidden_size)


@dataclass(frozen=True, kw_only=True)
class Rotary(Position):
    """Rotary embeddings; the settings of each `rope_type` have their names in transformers."""

    rope_theta: float = 10000.0
    rope_type: str = "default"
    factor: float | None = None
    original_max_position_embeddings: int | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None

    def __post_init__(self) -> None:
        if self.rope_type not in _ROPE_TYPES:
            raise ValueError(f"rope_type is one of {', '.join(_ROPE_TYPES)}, not {self.rope_type!r}")
        missing = [name for name in _ROPE_TYPES[self.rope_type] if getattr(self, name) is None]
        if missing:
            raise ValueError(f"rope_type is {self.rope_type}: {' and '.join(missing)} has to be set")

    def parameters(self) -> dict[str, Any]:
        """The settings that are set, as `rope_parameters` of a transformers config."""
        settings = {name: value for name, value in self.to_dict().items() if name != "part"}
        return {name: value for name, value in settings.items() if value is not None}

    def rotary(self, config: DecoderConfig) -> nn.Module:
        """The rotation of every position."""
        return DecoderRotaryEmbedding(config)


@dataclass(frozen=True, kw_only=True)
class Alibi(Position):
    """Attention with linear biases: a score falls with the distance of its tokens, at a slope of each head's own."""

    def bias(self, config: DecoderConfig) -> nn.Module:
        """The biases of every head."""
        return AlibiBias(config)


class DecoderRotaryEmbedding(nn.Module):
    """Cosines and sines by position, from the frequencies that transformers computes for a `rope_type`."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.max_seq_len_cached = config.max_position_embeddings
        self.original_max_seq_len = config.max_position_embeddings
        self.config = config
        self.rope_type = config.rope_parameters["rope_type"]
        frequencies = ROPE_INIT_FUNCTIONS.get(self.rope_type, self.compute_default_rope_parameters)
        inv_freq, self.attention_scaling = frequencies(config)
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self.register_buffer("original_inv_freq", inv_freq.clone(), persistent=False)

    @staticmethod
    def compute_default_rope_parameters(config: DecoderConfig) -> tuple[torch.Tensor, float]:
        """The frequencies without any stretching; transformers looks for this name when it fills the buffers."""
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float) / config.head_dim
        return 1.0 / (config.rope_parameters["rope_theta"] ** exponents), 1.0

    @torch.no_grad()
    @dynamic_rope_update
    def forward(self, hidden_states: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The cosines and the sines of each position, in the type of the hidden states."""
        inv_freq = self.inv_freq.to(device=hidden_states.device, dtype=torch.float)
        angles = position_ids[..., None].float() * inv_freq
        angles = torch.cat((angles, angles), dim=-1)
        cosines, sines = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        return cosines.to(hidden_states.dtype), sines.to(hidden_states.dtype)


class AlibiBias(nn.Module):
    """Puts the biases into the mask: 0 for a token itself, minus slope times distance before it, forbidden elsewhere."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config

    def check(self) -> None:
        """ValueError when the attention of the model takes no mask with numbers in it."""
        implementation = str(self.config._attn_implementation)  # noqa: SLF001 - it has no public name
        if implementation.startswith(_WITHOUT_BIAS):
            raise ValueError(
                f"position alibi adds a bias to attention scores, which attn_implementation {implementation} "
                "has no place for: set it to sdpa or eager"
            )

    def slopes(self, device: torch.device) -> torch.Tensor:
        """The slope of each head: a geometric series, and between its terms where heads are no power of two."""
        heads = self.config.num_attention_heads
        power = 1 << (heads.bit_length() - 1)
        series = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
        between = [2.0 ** (-4.0 * (i + 1) / power) for i in range(0, 2 * (heads - power), 2)]
        return torch.tensor(series + between, device=device)

    def forward(
        self, mask: torch.Tensor | None, hidden_states: torch.Tensor, position_ids: torch.Tensor, cache: Cache | None
    ) -> torch.Tensor:
        """The mask of `transformers`, true or 0 where a token may look, as one that also holds the biases.

        None means causal, and inside documents where the positions of a row begin anew.
        """
        device, length = hidden_states.device, hidden_states.shape[1]
        seen = cache.get_seq_length() if cache is not None else 0
        width = cache.get_mask_sizes(length, 0)[0] if cache is not None else length
        distance = torch.arange(width, device=device) - (torch.arange(length, device=device)[:, None] + seen)
        if mask is None:
            allowed = (distance <= 0)[None, None]
            allowed = allowed if cache is not None else allowed & _same_document(position_ids)
        else:
            allowed = mask if mask.dtype == torch.bool else mask == 0
        bias = (self.slopes(device)[:, None, None] * distance).to(hidden_states.dtype)
        return torch.where(allowed, bias, torch.finfo(hidden_states.dtype).min)


def _same_document(position_ids: torch.Tensor) -> torch.Tensor:
    """Which tokens of a row are in one document: true or false for each pair, with a dimension for heads."""
    first = position_ids[:, :1] - 1
    document = (torch.diff(position_ids, prepend=first, dim=-1) != 1).cumsum(-1)
    return (document[:, :, None] == document[:, None, :])[:, None]
