"""A decoder assembled from parts: attention, positions, norms, feed-forward networks, layers, and the stack of them."""

from __future__ import annotations

from forge.ml.models.decoder.assembled import AssembledForCausalLM
from forge.ml.models.decoder.attention import GroupedQueryAttention, MultiHeadAttention
from forge.ml.models.decoder.config import DecoderConfig
from forge.ml.models.decoder.family import as_family
from forge.ml.models.decoder.feed_forward import GatedFeedForward, Mlp
from forge.ml.models.decoder.layer import PostNorm, PreNorm
from forge.ml.models.decoder.norm import LayerNorm, RMSNorm
from forge.ml.models.decoder.position import Alibi, LearnedPositions, NoPositions, Rotary
from forge.ml.models.decoder.standalone import code_files

__all__ = [
    "Alibi",
    "AssembledForCausalLM",
    "DecoderConfig",
    "GatedFeedForward",
    "GroupedQueryAttention",
    "LayerNorm",
    "LearnedPositions",
    "Mlp",
    "MultiHeadAttention",
    "NoPositions",
    "PostNorm",
    "PreNorm",
    "RMSNorm",
    "Rotary",
    "as_family",
    "code_files",
]
