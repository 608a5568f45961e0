"""The shape of a decoder, from the dict that its ``config.json`` holds: what its memory and its layouts follow from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from forge.plan.families import LLAMA_FAMILY, ModelFamily, family_of, type_of_config_class

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ModelShape", "type_of_config"]

# The first name that a config has counts. Newer families use the first one.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "n_head_kv", "num_kv_heads", "n_kv_heads"),
    "head_dim": ("head_dim", "d_head"),
    "vocab": ("vocab_size",),
    "ffn": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "positions": ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k"),
    "expert_ffn": ("moe_intermediate_size",),
    "shared_ffn": ("shared_expert_intermediate_size",),
}
_NEEDED: Final = ("layers", "hidden", "heads", "vocab")
_HEAD_DIMS: Final = {"qwen3": 128, "gemma": 256, "gemma2": 256, "gemma3_text": 256, "ministral": 128, "helium": 128}
_DROPOUTS: Final = (
    *("attention_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "resid_dropout", "embedding_dropout"),
    *("residual_dropout", "hidden_dropout", "embd_dropout", "attn_dropout"),
)
_TEXT_PARTS: Final = ("text_config", "llm_config", "language_config")


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The sizes of a decoder and what its layers are made of.

    `ffn` is the width of a dense feed-forward network; with `experts` each of them is `expert_ffn` wide and each token goes
    through `experts_per_token`, and `dense_layers` of the layers have none. `window` is how many tokens back attention looks.
    With `partly_rotated` positions turn a part of each query and key, and the rest is put beside it again.
    """

    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool = False
    positions: int | None = None
    window: int | None = None
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    shared_ffn: int = 0
    dense_layers: int = 0
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    dropout: bool = False
    partly_rotated: bool = False
    beside: str = ""
    family: ModelFamily = LLAMA_FAMILY

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} of the model is a number of at least 1, not {value!r}")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} heads cannot share {self.kv_heads} heads of keys and values evenly")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelShape:
        """The shape of the model that a Hugging Face config describes; ValueError says what is missing in it."""
        text, model_type = _text_part(config), type_of_config(config)
        family = family_of(model_type)
        if isinstance(text.get("layers"), (list, tuple)) and text["layers"]:
            text, family = _assembled(text)
        if family.refused:
            raise ValueError(f"{model_type} cannot be planned: {family.refused}")
        found = {name: _number(text, name) for name in _NAMES}
        missing = [_NAMES[name][0] for name in _NEEDED if found[name] is None]
        if missing:
            raise ValueError(f"the config of the model does not say {', '.join(missing)}")
        return cls(**_sizes(text, found, model_type, family), **_parts(text, family), model_type=model_type)

    @property
    def queries(self) -> int:
        """The width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """The width of all key heads together, which that of the values is too."""
        return self.kv_heads * self.head_dim

    @property
    def norm_parameters(self) -> int:
        """The parameters of one norm over the hidden states."""
        return self.hidden * (2 if self.family.norm_bias else 1)

    @property
    def attention_parameters(self) -> int:
        """The parameters of the projections of one attention, with the norms of its queries and keys."""
        projections = self.hidden * (self.queries + 2 * self.keys) + self.queries * self.hidden
        biases = self.qkv_bias * (self.queries + 2 * self.keys) + self.output_bias * self.hidden
        whole = self.queries + self.keys
        norms = {"none": 0, "head": 2 * self.head_dim, "whole": whole}[self.family.qk_norm]
        return projections + biases + norms

    @property
    def dense_parameters(self) -> int:
        """The parameters of one dense feed-forward network."""
        return self._network(self.ffn)

    @property
    def expert_parameters(self) -> int:
        """The parameters of all experts of one layer, with what is shared and what chooses among them; 0 without experts."""
        if not self.experts:
            return 0
        routed = self.experts * self._network(self.expert_ffn) + self.experts * self.hidden
        shared = self._network(self.shared_ffn) + self.hidden if self.shared_ffn else 0
        return routed + shared

    def layer_parameters(self, layer: int) -> int:
        """The parameters of one layer."""
        dense = not self.experts or layer < self.dense_layers
        inner = self.dense_parameters if dense else self.expert_parameters
        return self.attention_parameters + inner + self.family.norms * self.norm_parameters

    @property
    def embedding_parameters(self) -> int:
        """The parameters of the embedding, and of its positions where those are learned."""
        learned = (self.positions or 0) * self.hidden if self.family.learned_positions else 0
        return self.vocab * self.hidden + learned

    @property
    def head_parameters(self) -> int:
        """The parameters that the head has beside the embedding: 0 where the two are one matrix."""
        own = 0 if self.tied else self.vocab * self.hidden
        return own + self.vocab * self.family.head_bias

    @property
    def parameters(self) -> int:
        """All parameters of the model."""
        layers = sum(self.layer_parameters(layer) for layer in range(self.layers))
        return self.embedding_parameters + layers + self.norm_parameters + self.head_parameters

    @property
    def used_parameters(self) -> int:
        """Those that compute something for a token: without the experts that it does not go through."""
        idle = self.experts - self.experts_per_token
        with_experts = self.layers - self.dense_layers if self.experts else 0
        return self.parameters - with_experts * idle * self._network(self.expert_ffn)

    def _network(self, width: int) -> int:
        matrices = (3 if self.family.gated else 2) * self.hidden * width
        biases = (width * (2 if self.family.gated else 1) + self.hidden) if self.mlp_bias else 0
        return matrices + biases


def type_of_config(config: Mapping[str, Any]) -> str:
    """The ``model_type`` of the model that a config describes, or of the decoder in it; nothing where it does not say."""
    return _type(_text_part(config)) or _type(config)


def _text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Models that also see or hear keep their decoder's config inside their own."""
    for name in _TEXT_PARTS:
        part = config.get(name)
        if isinstance(part, dict) and part:
            return {"tie_word_embeddings": config.get("tie_word_embeddings"), **part}
    return config


def _type(config: Mapping[str, Any]) -> str:
    named = config.get("model_type")
    if isinstance(named, str) and named:
        return named
    target = config.get("_target_")
    return type_of_config_class(target) if isinstance(target, str) else ""


def _number(config: Mapping[str, Any], name: str) -> int | None:
    for key in _NAMES[name]:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _sizes(
    config: Mapping[str, Any], found: Mapping[str, int | None], model_type: str, family: ModelFamily
) -> dict[str, Any]:
    hidden, heads = found["hidden"] or 0, found["heads"] or 1
    experts = found["experts"] or 0
    ffn = found["ffn"] or (0 if family.gated and not found["expert_ffn"] else 4 * hidden)
    if not ffn:
        raise ValueError("the config of the model does not say intermediate_size")
    shared = (config.get("n_shared_experts") or 0) * (found["expert_ffn"] or ffn)
    return {
        "layers": found["layers"],
        "hidden": hidden,
        "heads": heads,
        "kv_heads": found["kv_heads"] or (1 if config.get("multi_query") else heads),
        "head_dim": found["head_dim"] or _HEAD_DIMS.get(model_type) or max(hidden // heads, 1),
        "ffn": ffn,
        "vocab": found["vocab"],
        "positions": found["positions"],
        "window": _window(config),
        "experts": experts,
        "experts_per_token": min(experts, found["experts_per_token"] or 2),
        "expert_ffn": (found["expert_ffn"] or ffn) if experts else 0,
        "shared_ffn": (found["shared_ffn"] or shared) if experts else 0,
        "dense_layers": (config.get("first_k_dense_replace") or 0) if experts else 0,
    }


def _parts(config: Mapping[str, Any], family: ModelFamily) -> dict[str, Any]:
    bias = config.get("attention_bias")
    tied = config.get("tie_word_embeddings")
    everywhere = config.get("use_bias")
    output = None if family.qkv_bias else bias  # those that always have them on queries have none behind
    return {
        "tied": family.tied if tied is None else bool(tied),
        "qkv_bias": _first(bias, config.get("use_qkv_bias"), family.qkv_bias),
        "output_bias": _first(config.get("output_bias"), everywhere, output, family.output_bias),
        "mlp_bias": _first(config.get("mlp_bias"), everywhere, family.mlp_bias),
        "dropout": any(_positive(config.get(name)) for name in _DROPOUTS),
        "partly_rotated": _rotated_part(config, family) < 1,
        "beside": _beside(config, family),
        "family": family,
    }


def _beside(config: Mapping[str, Any], family: ModelFamily) -> str:
    """The value by which layers are given more than hidden states, if one does."""
    found = ((name, config.get(name, usual)) for name, usual in family.beside)
    return next((f"{name}={value}" for name, value in found if value), "")


def _rotated_part(config: Mapping[str, Any], family: ModelFamily) -> float:
    rope = config.get("rope_parameters")
    within = rope.get("partial_rotary_factor") if isinstance(rope, dict) else None
    said = (within, config.get("partial_rotary_factor"), config.get("rotary_pct"))
    usual = 0.25 if family.fused and not family.gated and not family.learned_positions else 1.0  # as gpt_neox has it
    return next((part for part in said if isinstance(part, (int, float))), usual)


def _first(*values: Any) -> bool:
    return bool(next(value for value in values if value is not None))


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and value > 0


def _window(config: Mapping[str, Any]) -> int | None:
    window = config.get("sliding_window")
    if not isinstance(window, int) or isinstance(window, bool) or config.get("use_sliding_window") is False:
        return None
    return window or None


def _assembled(config: Mapping[str, Any]) -> tuple[dict[str, Any], ModelFamily]:
    """A decoder from parts, in the words of the others; where its layers differ, the first one stands for all."""
    layer = config["layers"][0]
    attention, network, norm = (layer.get(name) or {} for name in ("attention", "feed_forward", "norm"))
    heads, shared = attention.get("num_heads"), attention.get("num_key_value_heads")
    told = {
        "num_attention_heads": heads,
        "num_key_value_heads": shared if shared is not None else heads,
        "head_dim": attention.get("head_dim"),
        "sliding_window": attention.get("sliding_window"),
        "intermediate_size": network.get("intermediate_size"),
        "attention_bias": bool(attention.get("qkv_bias")),
        "output_bias": bool(attention.get("output_bias")),
        "mlp_bias": bool(network.get("bias")),
        "attention_dropout": attention.get("dropout"),
        "residual_dropout": layer.get("dropout"),
    }
    family = ModelFamily(
        gated=_kind(network) != "Mlp",
        norm_bias=_kind(norm) == "LayerNorm" and norm.get("bias") is not False,
        plain_norm=_kind(norm) == "LayerNorm",
        qk_norm="head" if attention.get("qk_norm") else "none",
        learned_positions=_kind(config.get("position") or {}) == "LearnedPositions",
    )
    return {**config, **told}, family


def _kind(part: Mapping[str, Any]) -> str:
    """The class of a part, as a config or a saved model names it."""
    named = part.get("_target_") or part.get("part") or ""
    return named.rpartition(".")[2] if isinstance(named, str) else ""
