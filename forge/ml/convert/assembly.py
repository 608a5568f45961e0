"""The same model as a known architecture and as a decoder assembled from parts: configs and names, both ways."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch

from forge.base.errors import ModelError
from forge.ml.convert.source import empty_model
from forge.ml.models.decoder import (
    DecoderConfig,
    GatedFeedForward,
    GroupedQueryAttention,
    LayerNorm,
    LearnedPositions,
    Mlp,
    MultiHeadAttention,
    PreNorm,
    RMSNorm,
    Rotary,
    as_family,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor
    from transformers import PretrainedConfig

    from forge.ml.models.decoder import LayerPart
    from forge.ml.models.stored import Stored

__all__ = ["as_assembly", "as_known", "assembled_config", "known_config"]

_SHARED: Final = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings", "initializer_range", "use_cache"),
    *("tie_word_embeddings", "pad_token_id", "bos_token_id", "eos_token_id", "dtype"),
)
# What says nothing about what a model computes, or is the library's own bookkeeping.
_ASIDE: Final = frozenset(
    {"_name_or_path", "architectures", "auto_map", "dtype", "transformers_version", "use_cache", "pretraining_tp"}
    | {"task_specific_params", "summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout"}
    | {"summary_proj_to_labels", "rope_theta", "rope_scaling", "torch_dtype", "problem_type", "id2label", "label2id"}
    | {"max_window_layers", "n_ctx", "return_dict", "output_hidden_states", "output_attentions"}
    | {"chunk_size_feed_forward", "is_encoder_decoder", "reorder_and_upcast_attn", "function_to_apply"}
)
_COMPUTED: Final = re.compile(r".*\.(rotary_emb\.inv_freq|attn\.(masked_)?bias)$")


def known_config(config: DecoderConfig) -> PretrainedConfig | None:
    """The config of the known architecture that an assembly equals; None when it equals none."""
    family = as_family(empty_model(config))
    return None if family is None else family.config


def assembled_config(config: PretrainedConfig) -> DecoderConfig:
    """The assembly that computes what a known architecture does; ModelError when there is none for it."""
    make = {**dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), _llama_like), "gpt2": _gpt2}.get(config.model_type)
    if make is None:
        raise ModelError(
            f"there is no assembly for the architecture {config.model_type}",
            hint="there is one for llama, mistral, qwen2, qwen3 and gpt2; others are trained as they are",
        )
    try:
        made = make(config)
    except ValueError as error:
        raise ModelError(f"the {config.model_type} cannot be assembled: {error}") from error
    if different := _differences(config, known_config(made)):
        raise ModelError(f"the assembled decoder has no part for this of the {config.model_type}: {different}")
    return made


def as_assembly(config: PretrainedConfig, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors of a known architecture under the names of its assembly."""
    kept = {name: stored for name, stored in tensors.items() if not _COMPUTED.fullmatch(name)}
    return _from_gpt2(kept) if config.model_type == "gpt2" else kept


def as_known(config: PretrainedConfig, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """The tensors of an assembly under the names of the known architecture that it equals."""
    return _to_gpt2(tensors) if config.model_type == "gpt2" else dict(tensors)


def _shared(config: PretrainedConfig) -> dict[str, Any]:
    return {name: getattr(config, name, None) for name in _SHARED}


def _llama_like(config: Any) -> DecoderConfig:
    layers = [_llama_layer(config, _window(config, place)) for place in range(config.num_hidden_layers)]
    return DecoderConfig(
        **_shared(config),
        layers=layers[:1],
        replaced={place: layer for place, layer in enumerate(layers) if layer != layers[0]},
        position=Rotary(**_rotary(config)),
        norm=layers[0].norm,
    )


def _llama_layer(config: Any, window: int | None) -> LayerPart:
    norm = RMSNorm(config.rms_norm_eps)
    own = config.model_type == "qwen2"  # biases for queries, keys and values, whatever its config says
    bias = own or bool(getattr(config, "attention_bias", False))
    attention = GroupedQueryAttention(
        num_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=getattr(config, "head_dim", None),
        qkv_bias=bias,
        output_bias=bias and not own,
        qk_norm=norm if config.model_type == "qwen3" else None,
        sliding_window=window,
        dropout=config.attention_dropout,
    )
    network = GatedFeedForward(
        intermediate_size=config.intermediate_size,
        activation=config.hidden_act,
        bias=bool(getattr(config, "mlp_bias", False)),
    )
    return PreNorm(attention=attention, feed_forward=network, norm=norm)


def _window(config: Any, place: int) -> int | None:
    kinds = getattr(config, "layer_types", None)
    if config.model_type == "mistral" or kinds is None:
        return getattr(config, "sliding_window", None)
    return config.sliding_window if kinds[place] == "sliding_attention" else None


def _rotary(config: Any) -> dict[str, Any]:
    known = set(Rotary.__dataclass_fields__)
    given = {name: value for name, value in config.rope_parameters.items() if value is not None}
    if foreign := sorted(set(given) - known):
        raise ValueError(f"its rotary embeddings have {foreign[0]}, which the part Rotary does not know")
    return given


def _gpt2(config: Any) -> DecoderConfig:
    norm = LayerNorm(config.layer_norm_epsilon)
    attention = MultiHeadAttention(num_heads=config.n_head, qkv_bias=True, output_bias=True, dropout=config.attn_pdrop)
    inner = config.n_inner or 4 * config.n_embd
    network = Mlp(intermediate_size=inner, activation=config.activation_function)
    layer = PreNorm(attention=attention, feed_forward=network, norm=norm, dropout=config.resid_pdrop)
    return DecoderConfig(
        **_shared(config),
        layers=[layer],
        position=LearnedPositions(),
        norm=norm,
        embedding_dropout=config.embd_pdrop,
        scaled_residual_init=True,
    )


def _differences(config: PretrainedConfig, found: PretrainedConfig | None) -> str:
    """What the assembly would compute otherwise, or nothing."""
    if found is None or found.model_type != config.model_type:
        # A llama without windows and biases is a mistral without windows, and the other way round.
        same = found is not None and {found.model_type, config.model_type} == {"llama", "mistral"}
        if not same:
            return "it equals no known architecture"
    theirs, ours = _plain(config), _plain(found)
    default = _plain(type(config)())
    names = sorted(name for name in theirs if _differs(name, theirs, ours, default))
    return ", ".join(f"{name}={theirs[name]!r}" for name in names)


def _plain(config: Any) -> dict[str, Any]:
    plain = {name: value for name, value in config.to_dict().items() if name not in _ASIDE}
    plain.pop("model_type", None)
    if plain.get("n_inner") is None and "n_embd" in plain:
        plain["n_inner"] = 4 * plain["n_embd"]
    if plain.get("head_dim") is None and "num_attention_heads" in plain:
        plain["head_dim"] = plain["hidden_size"] // plain["num_attention_heads"]
    return plain


def _differs(name: str, theirs: dict[str, Any], ours: dict[str, Any], default: dict[str, Any]) -> bool:
    """A setting that the other does not have counts where it is set, and not as it begins."""
    if name in ours:
        return bool(theirs[name] != ours[name])
    return theirs[name] is not None and bool(theirs[name] != default.get(name))


# GPT-2's names and matrices, as in forge.ml.models.decoder.family, for tensors that are still in their files.
_OUTER: Final = {
    "transformer.wte": "model.embed_tokens",
    "transformer.wpe": "model.embed_positions",
    "transformer.ln_f": "model.norm",
    "lm_head": "lm_head",
}
_NORMS: Final = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}
_PROJECTIONS: Final = {"attn.c_proj": "self_attn.o_proj", "mlp.c_fc": "mlp.up_proj", "mlp.c_proj": "mlp.down_proj"}
_JOINED: Final = ("q_proj", "k_proj", "v_proj")
_GPT2_LAYER: Final = re.compile(r"transformer\.h\.(\d+)\.(.+)\.(weight|bias)")
_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_UNDER_HEAD: Final = re.compile(r"(wte|wpe|ln_f|h)\..*")


def _from_gpt2(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for name, stored in tensors.items():
        whole = f"transformer.{name}" if _UNDER_HEAD.fullmatch(name) else name
        layer = _GPT2_LAYER.fullmatch(whole)
        if layer is None:
            module, _, kind = whole.rpartition(".")
            found |= _renamed(f"{_OUTER.get(module, module)}.{kind}", stored)
            continue
        place, module, kind = f"model.layers.{layer[1]}", layer[2], layer[3]
        if module == "attn.c_attn":
            parts = {f"{place}.self_attn.{one}.{kind}": i for i, one in enumerate(_JOINED)}
            found |= {ours: _third(ours, stored, i) for ours, i in parts.items()}
        elif module in _NORMS:
            found |= _renamed(f"{place}.{_NORMS[module]}.{kind}", stored)
        else:
            found |= _turned(f"{place}.{_PROJECTIONS.get(module, module)}.{kind}", stored)
    return found


def _to_gpt2(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    outer, norms, projections = (
        {ours: theirs for theirs, ours in table.items()} for table in (_OUTER, _NORMS, _PROJECTIONS)
    )
    found: dict[str, Stored] = {}
    for name, stored in tensors.items():
        layer = _LAYER.fullmatch(name)
        if layer is None:
            module, _, kind = name.rpartition(".")
            found |= _renamed(f"{outer.get(module, module)}.{kind}", stored)
            continue
        place, module, kind = f"transformer.h.{layer[1]}", layer[2], layer[3]
        if module in norms:
            found |= _renamed(f"{place}.{norms[module]}.{kind}", stored)
        elif module in projections:
            found |= _turned(f"{place}.{projections[module]}.{kind}", stored)
        else:
            names = [f"model.layers.{layer[1]}.self_attn.{one}.{kind}" for one in _JOINED]
            found.setdefault(
                f"{place}.attn.c_attn.{kind}", _together(f"{place}.attn.c_attn.{kind}", [tensors[n] for n in names])
            )
    return found


def _renamed(name: str, stored: Stored) -> dict[str, Stored]:
    return {name: replace(stored, name=name)}


def _turned(name: str, stored: Stored) -> dict[str, Stored]:
    return {name: _transposed(replace(stored, name=name))}


def _third(name: str, stored: Stored, place: int) -> Stored:
    """The queries, the keys or the values of a projection that has all three."""
    *before, last = stored.shape
    width, part = last // 3, stored.part
    first = place * width

    def read() -> Tensor:
        return stored.read()[..., first : first + width].clone()

    own = replace(stored, name=name).read_by(
        read,
        None if part is None else lambda places: part([*places[:-1], places[-1] + first]),
        shape=(*before, width),
    )
    return _transposed(own)


def _together(name: str, parts: list[Stored]) -> Stored:
    lengths = [part.shape[0] for part in parts]
    begins = [sum(lengths[:number]) for number in range(len(parts))]

    def part(places: Sequence[Tensor]) -> Tensor:
        own = [places[0] - begin for begin in begins]
        inside = [rows[(rows >= 0) & (rows < length)] for rows, length in zip(own, lengths, strict=True)]
        return torch.cat([one.part([rows, *places[1:]]) for rows, one in zip(inside, parts, strict=True) if one.part])

    whole = replace(parts[0], name=name).read_by(
        lambda: torch.cat([one.read() for one in parts]),
        part if all(one.part is not None for one in parts) else None,
        shape=(sum(lengths), *parts[0].shape[1:]),
    )
    return _transposed(whole)


def _transposed(stored: Stored) -> Stored:
    if len(stored.shape) == 1:
        return stored
    part = stored.part
    turned = stored.read_by(
        lambda: stored.read().t().contiguous(),
        None if part is None else lambda places: part(places[::-1]).t().contiguous(),
        shape=stored.shape[::-1],
    )
    return replace(turned, scattered=True)
