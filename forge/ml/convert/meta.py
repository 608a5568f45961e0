"""The config of a Llama as Meta publishes it: what params.json says, and what only its tensors say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import LlamaConfig

from forge.base.errors import ModelError
from forge.base.json_file import read_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from forge.ml.models.stored import Stored

__all__ = ["PARAMETERS", "llama_config"]

PARAMETERS: Final = "params.json"
_EMBEDDINGS: Final = "tok_embeddings.weight"
_HEAD: Final = "output.weight"
_GATE: Final = "layers.0.feed_forward.w1.weight"
# Llama 3.1 and later stretch their rotary embeddings; the small models of 3.2 by more, and they tie their embeddings.
_STRETCH: Final = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_SMALL: Final = 3072
# The longest text of each generation, by what tells them apart: no file of the folder says it.
_LENGTHS: Final = {500000.0: 8192, 1000000.0: 16384}


def llama_config(
    folder: str, parts: Sequence[dict[str, Stored]], max_length: int | None = None
) -> tuple[LlamaConfig, tuple[str, ...]]:
    """The config of the Llama in a folder without config.json, and a remark for each value that had to be guessed."""
    path = os.path.join(folder, PARAMETERS)
    given = _parameters(path)
    try:
        shapes = {name: parts[0][name].shape for name in (_EMBEDDINGS, _GATE)}
    except KeyError as error:
        raise ModelError(f"{folder}: the consolidated weights have no {error.args[0]}: they are no Llama's") from error
    width, heads = int(given["dim"]), int(given["n_heads"])
    theta, stretched = float(given.get("rope_theta", 10000.0)), bool(given.get("use_scaled_rope"))
    length = max_length or (131072 if stretched else _LENGTHS.get(theta, 4096))
    config = LlamaConfig(
        vocab_size=_rows(parts, given),
        hidden_size=width,
        intermediate_size=shapes[_GATE][0] * len(parts),
        num_hidden_layers=int(given["n_layers"]),
        num_attention_heads=heads,
        num_key_value_heads=int(given.get("n_kv_heads") or heads),
        rms_norm_eps=float(given["norm_eps"]),
        max_position_embeddings=length,
        rope_parameters=_rope(theta, width, given) if stretched else {"rope_type": "default", "rope_theta": theta},
        tie_word_embeddings=_HEAD not in parts[0] or _same(parts),
        architectures=["LlamaForCausalLM"],
        dtype=parts[0][_EMBEDDINGS].dtype,
    )
    remark = (
        f"{PARAMETERS} does not say how long a text may be: {length:,} tokens are taken (--max-length says otherwise)"
    )
    return config, () if max_length else (remark,)


def _parameters(path: str) -> dict[str, Any]:
    given = read_object(path, 1 << 20)
    if missing := [name for name in ("dim", "n_layers", "n_heads", "norm_eps") if name not in given]:
        raise ModelError(f"{path} does not say {missing[0]}")
    if "moe" in given or given.get("n_experts"):
        raise ModelError(f"{path} describes a model with experts, and only plain Llamas can be converted")
    return given


def _rope(theta: float, width: int, given: dict[str, Any]) -> dict[str, Any]:
    factor = given.get("rope_scaling_factor") or (32.0 if width <= _SMALL else 8.0)
    return {**_STRETCH, "rope_theta": theta, "factor": float(factor)}


def _rows(parts: Sequence[dict[str, Stored]], given: dict[str, Any]) -> int:
    """The tokens: the parts have either some of the rows each, or all rows and some of the columns each."""
    rows, columns = parts[0][_EMBEDDINGS].shape
    return rows if columns * len(parts) == int(given["dim"]) else rows * len(parts)


def _same(parts: Sequence[dict[str, Stored]]) -> bool:
    return all(
        part[_EMBEDDINGS].shape == part[_HEAD].shape and torch.equal(part[_EMBEDDINGS].read(), part[_HEAD].read())
        for part in parts
    )
