"""A decoder assembled from parts: attention, positions, norms, feed-forward networks, layers, and the stack of them."""

from __future__ import annotations

from forge.ml.models.decoder.assembled import AssembledForCausalLM
from forge.ml.models.decoder.attention import Attention, GroupedQueryAttention, MultiHeadAttention, SelfAttention
from forge.ml.models.decoder.config import DecoderConfig
from forge.ml.models.decoder.family import as_family
from forge.ml.models.decoder.feed_forward import FeedForward, GatedFeedForward, Mlp
from forge.ml.models.decoder.layer import DecoderLayer, LayerPart, PostNorm, PreNorm
from forge.ml.models.decoder.norm import LayerNorm, RMSNorm
from forge.ml.models.decoder.parts import Part
from forge.ml.models.decoder.position import Alibi, LearnedPositions, NoPositions, Position, Rotary
from forge.ml.models.decoder.standalone import code_files

__all__ = [
    "Alibi",
    "AssembledForCausalLM",
    "Attention",
    "DecoderConfig",
    "DecoderLayer",
    "FeedForward",
    "GatedFeedForward",
    "GroupedQueryAttention",
    "LayerNorm",
    "LayerPart",
    "LearnedPositions",
    "Mlp",
    "MultiHeadAttention",
    "NoPositions",
    "Part",
    "Position",
    "PostNorm",
    "PreNorm",
    "RMSNorm",
    "Rotary",
    "SelfAttention",
    "as_family",
    "code_files",
]
