"""Assemblies that are a known architecture: the same computation under that architecture's own names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GPT2Config, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from forge.ml.models.decoder.attention import GroupedQueryAttention, MultiHeadAttention
from forge.ml.models.decoder.config import DecoderConfig
from forge.ml.models.decoder.feed_forward import GatedFeedForward, Mlp
from forge.ml.models.decoder.layer import PreNorm
from forge.ml.models.decoder.norm import LayerNorm, RMSNorm
from forge.ml.models.decoder.position import LearnedPositions, Rotary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

    from forge.ml.models.decoder.layer import LayerPart

__all__ = ["Family", "as_family"]

_ALWAYS = (
    *("vocab_size", "max_position_embeddings", "initializer_range", "use_cache", "tie_word_embeddings", "dtype"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "hidden_size", "num_hidden_layers", "num_attention_heads"),
)
_LLAMA_LIKE = ("num_key_value_heads", "intermediate_size", "head_dim", "rope_parameters")


@dataclass(frozen=True)
class Family:
    """A known architecture that computes what the assembly does.

    `to_family` and `from_family` turn the assembly's tensors by name into the architecture's, and back. Where both have the
    same names (`same_names`: all but GPT-2), they return what they are given.
    """

    config: PretrainedConfig
    same_names: bool = True
    to_family: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict
    from_family: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict


def as_family(model: PreTrainedModel) -> Family | None:
    """The family a model belongs to; None for an assembly that is nothing known, and for what is no assembly."""
    config = model.config
    if not isinstance(config, DecoderConfig) or not _uniform(config):
        return None
    return next((family for known in _FAMILIES if (family := known(config, config.layer_at(0)))), None)


def _uniform(config: DecoderConfig) -> bool:
    """Layers that differ at most in their windows, pre-norm, and one norm throughout."""
    first = config.layer_at(0)
    alike = all(_without_window(layer) == _without_window(first) for layer in config.stack)
    # A subclass is a part of somebody's own, which computes something else.
    ours = type(first) is PreNorm and type(first.attention) in (MultiHeadAttention, GroupedQueryAttention)
    return alike and ours and config.norm == first.norm


def _without_window(layer: LayerPart) -> dict[str, Any]:
    plain = layer.to_dict()
    return plain | {"attention": plain["attention"] | {"sliding_window": None}}


def _is_llama_like(config: DecoderConfig, layer: LayerPart) -> bool:
    return (
        type(layer.norm) is RMSNorm
        and type(layer.feed_forward) is GatedFeedForward
        and type(config.position) is Rotary
        and not (layer.dropout or config.embedding_dropout or config.scaled_residual_init)
    )


def _biases(layer: LayerPart) -> tuple[bool, bool, bool]:
    return layer.attention.qkv_bias, layer.attention.output_bias, layer.feed_forward.bias


def _llama(config: DecoderConfig, layer: LayerPart) -> Family | None:
    qkv, output, feed_forward = _biases(layer)
    if not _is_llama_like(config, layer) or layer.attention.qk_norm or config.sliding_window or qkv != output:
        return None
    if config.hidden_size % config.num_attention_heads:  # LlamaConfig refuses what its model could do
        return None
    return _llama_like(LlamaConfig, config, attention_bias=qkv, mlp_bias=feed_forward)


def _mistral(config: DecoderConfig, layer: LayerPart) -> Family | None:
    windows = {part.attention.sliding_window for part in config.stack}
    if not _is_llama_like(config, layer) or layer.attention.qk_norm or any(_biases(layer)) or len(windows) > 1:
        return None
    return _llama_like(MistralConfig, config, sliding_window=config.sliding_window)


def _qwen2(config: DecoderConfig, layer: LayerPart) -> Family | None:
    if not _is_llama_like(config, layer) or layer.attention.qk_norm or _biases(layer) != (True, False, False):
        return None
    if config.head_dim * config.num_attention_heads != config.hidden_size:
        return None
    return _llama_like(Qwen2Config, config, **_windows(config))


def _qwen3(config: DecoderConfig, layer: LayerPart) -> Family | None:
    qkv, output, feed_forward = _biases(layer)
    if not _is_llama_like(config, layer) or layer.attention.qk_norm != layer.norm or feed_forward or qkv != output:
        return None
    return _llama_like(Qwen3Config, config, attention_bias=qkv, **_windows(config))


def _windows(config: DecoderConfig) -> dict[str, Any]:
    windowed = config.sliding_window is not None
    return {
        "layer_types": config.layer_types,
        "use_sliding_window": windowed,
        "sliding_window": config.sliding_window,
    }


def _llama_like(kind: type[PretrainedConfig], config: DecoderConfig, **more: Any) -> Family:
    layer = config.layer_at(0)
    shared = {name: getattr(config, name) for name in (*_ALWAYS, *_LLAMA_LIKE)}
    return Family(
        kind(
            **shared,
            hidden_act=layer.feed_forward.activation,
            rms_norm_eps=layer.norm.eps,
            attention_dropout=layer.attention.dropout,
            **more,
        )
    )


def _gpt2(config: DecoderConfig, layer: LayerPart) -> Family | None:
    attention, whole = layer.attention, config.head_dim * config.num_attention_heads == config.hidden_size
    if not (type(config.position) is LearnedPositions and type(layer.norm) is LayerNorm and layer.norm.bias):
        return None
    if not (
        type(attention) is MultiHeadAttention and type(layer.feed_forward) is Mlp and all(_biases(layer)) and whole
    ):
        return None
    if attention.qk_norm or config.sliding_window or not config.scaled_residual_init:
        return None
    shared = {name: getattr(config, name) for name in _ALWAYS}
    family = GPT2Config(
        **shared,
        n_inner=config.intermediate_size,
        activation_function=layer.feed_forward.activation,
        layer_norm_epsilon=layer.norm.eps,
        resid_pdrop=layer.dropout,
        embd_pdrop=config.embedding_dropout,
        attn_pdrop=attention.dropout,
    )
    return Family(family, same_names=False, to_family=_to_gpt2, from_family=_from_gpt2)


_FAMILIES = (_llama, _mistral, _qwen2, _qwen3, _gpt2)

# GPT-2's names, outside of the layers and inside one, against the assembly's.
_OUTER = {
    "transformer.wte": "model.embed_tokens",
    "transformer.wpe": "model.embed_positions",
    "transformer.ln_f": "model.norm",
    "lm_head": "lm_head",
}
_NORMS = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}
# GPT-2 keeps the matrices of its projections the other way round, and those of queries, keys and values as one.
_PROJECTIONS = {"attn.c_proj": "self_attn.o_proj", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}
_JOINED = ("q_proj", "k_proj", "v_proj")
_KINDS = ("weight", "bias")


def _to_gpt2(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outer = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in _OUTER.items() for kind in _KINDS}
    found = {theirs: tensors[ours] for theirs, ours in outer.items() if ours in tensors}
    layers = {name.split(".")[2] for name in tensors if name.startswith("model.layers.")}
    for layer in sorted(layers, key=int):
        ours, theirs = f"model.layers.{layer}", f"transformer.h.{layer}"
        for kind in _KINDS:
            for their, our in {**_NORMS, **_PROJECTIONS}.items():
                found[f"{theirs}.{their}.{kind}"] = _turned(tensors[f"{ours}.{our}.{kind}"])
            joined = torch.cat([tensors[f"{ours}.self_attn.{name}.{kind}"] for name in _JOINED])
            found[f"{theirs}.attn.c_attn.{kind}"] = _turned(joined)
    return found


def _from_gpt2(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outer = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in _OUTER.items() for kind in _KINDS}
    found = {ours: tensors[theirs] for theirs, ours in outer.items() if theirs in tensors}
    layers = {name.split(".")[2] for name in tensors if name.startswith("transformer.h.")}
    for layer in sorted(layers, key=int):
        ours, theirs = f"model.layers.{layer}", f"transformer.h.{layer}"
        for kind in _KINDS:
            for their, our in _NORMS.items():
                found[f"{ours}.{our}.{kind}"] = tensors[f"{theirs}.{their}.{kind}"]
            for their, our in _PROJECTIONS.items():
                found[f"{ours}.{our}.{kind}"] = _turned(tensors[f"{theirs}.{their}.{kind}"])
            joined = _turned(tensors[f"{theirs}.attn.c_attn.{kind}"])
            parts = (part.contiguous() for part in joined.chunk(len(_JOINED)))
            found |= {f"{ours}.self_attn.{name}.{kind}": part for name, part in zip(_JOINED, parts, strict=True)}
    return found


def _turned(tensor: Tensor) -> Tensor:
    return tensor.t().contiguous() if tensor.ndim > 1 else tensor
