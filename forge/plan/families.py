"""What the decoders of Hugging Face's library have in common and where they differ, by the ``model_type`` of their configs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Literal

__all__ = ["LLAMA_FAMILY", "ModelFamily", "QueryKeyNorm", "TensorPlanKind", "family_of", "type_of_config_class"]

QueryKeyNorm = Literal["none", "head", "whole"]
TensorPlanKind = Literal["whole", "part", "none"]


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """How the layers of a family are made.

    `norms` are the norms of a layer, `norm_bias` whether they have biases (LayerNorm); `qk_norm` says whether queries and keys are
    normalised a head at a time or whole. `fused` families have one matrix for queries, keys and values. `tensor_plan` is what
    the library says of how its matrices are divided: nothing, or not of all. `forge_attention` is whether its attention can be forge's own,
    `adapted_experts` whether an adapter on all linear layers is put on experts, too, and `stateful` whether layers keep a state along a row.
    `beside` names the values of a config, and what they are where nothing is said, with which layers are given more than hidden
    states, so that a stage of a pipeline would lack it. `known` is false for a family that is taken for a llama.
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
    tensor_plan: TensorPlanKind = "whole"
    forge_attention: bool = True
    adapted_experts: bool = True
    stateful: bool = False
    beside: tuple[tuple[str, int], ...] = ()
    known: bool = True
    refused: str = ""


LLAMA_FAMILY: Final = ModelFamily()
"""What most decoders are like."""

_UNKNOWN: Final = ModelFamily(known=False)
# Of these is known only what they have not.
_OLDER: Final = ModelFamily(known=False, gated=False)
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
    "stablelm": ModelFamily(norm_bias=True, plain_norm=True),
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
    ),
    "gpt_neox": _GPT,
    "mixtral": LLAMA_FAMILY,
    "qwen2_moe": ModelFamily(qkv_bias=True, adapted_experts=False),
    "qwen3_moe": ModelFamily(qk_norm="head"),
    "olmoe": ModelFamily(qk_norm="whole"),
    "forge_decoder": LLAMA_FAMILY,
    "gemma3n_text": ModelFamily(known=False, beside=(("altup_num_inputs", 4),)),
    "gemma4_text": ModelFamily(known=False, beside=(("hidden_size_per_layer_input", 256), ("num_kv_shared_layers", 0))),
    **dict.fromkeys(("falcon", "mpt", "bloom", "gptj", "gpt_neo", "gpt_neox_japanese", "codegen", "biogpt"), _OLDER),
    **dict.fromkeys(
        ("apertus", "arcee", "gpt_bigcode", "jais2", "nanochat", "nemotron", "opt", "persimmon", "xglm"), _OLDER
    ),
}
_STATEFUL: Final = (
    *("mamba", "mamba2", "falcon_mamba", "rwkv", "xlstm", "recurrent_gemma", "minimax", "zaya", "deepseek_v4"),
    *("bamba", "jamba", "zamba", "zamba2", "falcon_h1", "nemotron_h", "granitemoehybrid", "qwen3_5_text"),
    *("qwen3_next", "qwen3_5_moe_text", "qwen4_exp_text", "lfm2", "lfm2_moe", "kimi_linear", "olmo_hybrid"),
    "bailing_hybrid",
)
_NO_PLAN: Final = (
    *("bamba", "biogpt", "bitnet", "bloom", "codegen", "ctrl", "dbrx", "diffllama", "falcon", "falcon_h1"),
    "falcon_mamba",
    *("gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox_japanese", "gpt_oss", "gptj", "hunyuan_v1_dense", "jetmoe", "lfm2"),
    *("mamba", "mamba2", "modernbert-decoder", "mpt", "openai-gpt", "opt", "persimmon", "recurrent_gemma", "rwkv"),
    *("stablelm", "xglm", "xlstm", "zamba", "zamba2", "zaya"),
)
_PART_OF_A_PLAN: Final = (
    *("afmoe", "apertus", "bailing_hybrid", "deepseek_v3", "deepseek_v4", "doge", "gemma3n_text", "gemma4_text"),
    *("granitemoe", "granitemoehybrid", "granitemoeshared", "hunyuan_v1_moe", "jamba", "kimi_linear", "lfm2_moe"),
    *("llama4_text", "minimax", "nemotron_h", "olmo_hybrid", "phimoe"),
)
_OWN_ATTENTION: Final = (
    *("bailing_hybrid", "bamba", "biogpt", "bloom", "codegen", "falcon", "falcon_h1", "falcon_mamba", "gpt_neo"),
    *("gpt_neox_japanese", "gptj", "jamba", "kimi_linear", "mamba", "mamba2", "mpt", "nemotron_h", "olmo_hybrid"),
    *("openai-gpt", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "rwkv", "stablelm", "xglm", "xlstm", "zamba"),
    "zamba2",
)
_REFUSED: Final = {
    **dict.fromkeys(_STATEFUL, _STATE),
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
    "NanoChatConfig": "nanochat",
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
    "BitNetConfig": "bitnet",
    "CTRLConfig": "ctrl",
    "DiffLlamaConfig": "diffllama",
    "GPTBigCodeConfig": "gpt_bigcode",
    "GraniteMoeConfig": "granitemoe",
    "GraniteMoeSharedConfig": "granitemoeshared",
    "HunYuanDenseV1Config": "hunyuan_v1_dense",
    "HunYuanMoEV1Config": "hunyuan_v1_moe",
    "JetMoeConfig": "jetmoe",
    "MiniMaxConfig": "minimax",
    "ModernBertDecoderConfig": "modernbert-decoder",
    "OpenAIGPTConfig": "openai-gpt",
    "Qwen3_5MoeTextConfig": "qwen3_5_moe_text",
    "Qwen3_5TextConfig": "qwen3_5_text",
    "XGLMConfig": "xglm",
}


def family_of(model_type: str) -> ModelFamily:
    """The family of a type; one that forge has not met is taken for a llama, and says so in `ModelFamily.known`."""
    refused = _REFUSED.get(model_type)
    return replace(
        ModelFamily(known=False, refused=refused) if refused else _FAMILIES.get(model_type, _UNKNOWN),
        tensor_plan="none" if model_type in _NO_PLAN else "part" if model_type in _PART_OF_A_PLAN else "whole",
        forge_attention=model_type not in _OWN_ATTENTION,
        stateful=model_type in _STATEFUL,
    )


def type_of_config_class(name: str) -> str:
    """The ``model_type`` of a config class, by its dotted name: ``transformers.Qwen3MoeConfig`` is ``qwen3_moe``."""
    own = name.rpartition(".")[2]
    if own in _CLASSES:
        return _CLASSES[own]
    words = re.findall(r"[A-Z][a-z0-9]*", own.removesuffix("Config"))
    return "_".join(words).lower()
