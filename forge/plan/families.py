"""What the decoders of Hugging Face's library have in common and where they differ, by the ``model_type`` of their configs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["LLAMA_FAMILY", "ModelFamily", "QueryKeyNorm", "family_of", "type_of_config_class"]

QueryKeyNorm = Literal["none", "head", "whole"]


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """How the layers of a family are made.

    `norms` are the norms of a layer, `norm_bias` whether they have biases (LayerNorm); `qk_norm` says whether queries and keys are
    normalised a head at a time or whole. `fused` families have one matrix for queries, keys and values. `tensor_parallel` is
    whether the library has a plan for it; a pipeline needs none. `forge_attention` is whether its attention can be forge's own, and
    `adapted_experts` whether an adapter on all linear layers is put on experts, too. `known` is false for a family that is taken for a llama.
    """

    norms: int = 2
    norm_bias: bool = False
    gated: bool = True
    fused: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm: QueryKeyNorm = "none"
    learned_positions: bool = False
    tied: bool = False
    plain_norm: bool = False
    soft_caps: bool = False
    scaled_logits: bool = False
    tensor_parallel: bool = True
    forge_attention: bool = True
    adapted_experts: bool = True
    known: bool = True
    refused: str = ""


LLAMA_FAMILY: Final = ModelFamily()
"""What most decoders are like."""

_UNKNOWN: Final = ModelFamily(known=False)
# Of these is known only what they have not.
_OLDER: Final = ModelFamily(known=False, gated=False, tensor_parallel=False, forge_attention=False)
_GEMMA: Final = ModelFamily(norms=4, tied=True, soft_caps=True)
_GPT: Final = ModelFamily(
    norm_bias=True, gated=False, fused=True, qkv_bias=True, output_bias=True, mlp_bias=True, plain_norm=True
)
_STATE: Final = "its layers keep a state along the sequence"
_LATENT: Final = "its attention compresses keys and values, which forge does not estimate yet"

_FAMILIES: Final = {
    "llama": LLAMA_FAMILY,
    "mistral": LLAMA_FAMILY,
    "ministral": LLAMA_FAMILY,
    "smollm3": ModelFamily(tied=True),
    "helium": LLAMA_FAMILY,
    "granite": ModelFamily(scaled_logits=True),
    "qwen2": ModelFamily(qkv_bias=True),
    "qwen3": ModelFamily(qk_norm="head"),
    "exaone4": ModelFamily(qk_norm="head"),
    "olmo2": ModelFamily(qk_norm="whole"),
    "olmo3": ModelFamily(qk_norm="whole"),
    "gemma": ModelFamily(tied=True),
    "gemma2": _GEMMA,
    "gemma3_text": ModelFamily(norms=4, tied=True, qk_norm="head"),
    "cohere": ModelFamily(norms=1, tied=True, plain_norm=True, scaled_logits=True),
    "cohere2": ModelFamily(norms=1, tied=True, plain_norm=True, scaled_logits=True),
    "phi3": ModelFamily(fused=True),
    "phi": ModelFamily(
        norms=1,
        norm_bias=True,
        gated=False,
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        head_bias=True,
        plain_norm=True,
    ),
    "glm4": ModelFamily(norms=4, qkv_bias=True),
    "starcoder2": ModelFamily(
        norm_bias=True, gated=False, qkv_bias=True, output_bias=True, mlp_bias=True, tied=True, plain_norm=True
    ),
    "stablelm": ModelFamily(norm_bias=True, plain_norm=True, tensor_parallel=False, forge_attention=False),
    "gpt2": ModelFamily(
        norm_bias=True,
        gated=False,
        fused=True,
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        learned_positions=True,
        tied=True,
        plain_norm=True,
        tensor_parallel=False,
    ),
    "gpt_neox": _GPT,
    "mixtral": LLAMA_FAMILY,
    "qwen2_moe": ModelFamily(qkv_bias=True, adapted_experts=False),
    "qwen3_moe": ModelFamily(qk_norm="head"),
    "olmoe": ModelFamily(qk_norm="whole"),
    "forge_decoder": LLAMA_FAMILY,
    **dict.fromkeys(("falcon", "mpt", "bloom", "gptj", "gpt_neo", "gpt_neox_japanese", "codegen", "biogpt"), _OLDER),
}
_REFUSED: Final = {
    **dict.fromkeys(("mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm", "recurrent_gemma"), _STATE),
    **dict.fromkeys(("bamba", "jamba", "zamba", "zamba2", "falcon_h1", "nemotron_h", "granitemoehybrid"), _STATE),
    **dict.fromkeys(("qwen3_next", "lfm2", "lfm2_moe", "kimi_linear", "olmo_hybrid", "bailing_hybrid"), _STATE),
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "minicpm3", "longcat_flash", "glm4_moe_lite"), _LATENT
    ),
}
# Class names from which the type does not follow by writing them in small letters.
_CLASSES: Final = {
    "GPT2Config": "gpt2",
    "GPTNeoXConfig": "gpt_neox",
    "GPTNeoXJapaneseConfig": "gpt_neox_japanese",
    "GPTNeoConfig": "gpt_neo",
    "GPTJConfig": "gptj",
    "OPTConfig": "opt",
    "SmolLM3Config": "smollm3",
    "DecoderConfig": "forge_decoder",
    "Gemma3TextConfig": "gemma3_text",
    "GptOssConfig": "gpt_oss",
    "StableLmConfig": "stablelm",
    "BioGptConfig": "biogpt",
    "CodeGenConfig": "codegen",
    "GraniteMoeHybridConfig": "granitemoehybrid",
    "MiniCPM3Config": "minicpm3",
    "xLSTMConfig": "xlstm",
}


def family_of(model_type: str) -> ModelFamily:
    """The family of a type; one that forge has not met is taken for a llama, and says so in `ModelFamily.known`."""
    if model_type in _REFUSED:
        return ModelFamily(known=False, refused=_REFUSED[model_type])
    return _FAMILIES.get(model_type, _UNKNOWN)


def type_of_config_class(name: str) -> str:
    """The ``model_type`` of a config class, by its dotted name: ``transformers.Qwen3MoeConfig`` is ``qwen3_moe``."""
    own = name.rpartition(".")[2]
    if own in _CLASSES:
        return _CLASSES[own]
    words = re.findall(r"[A-Z][a-z0-9]*", own.removesuffix("Config"))
    return "_".join(words).lower()
