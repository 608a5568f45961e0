"""A decoder of the `transformers` library, from scratch or from a folder of weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForCausalLM

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["causal_lm"]


def causal_lm(
    config: PretrainedConfig | None = None,
    path: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    attn_implementation: str = "sdpa",
    adapter: PeftConfig | None = None,
    seed: int = 42,
) -> PreTrainedModel:
    """Make the decoder that `config` describes, by its own rules of initialisation, or read the one in the folder `path`.

    With both, the weights of the folder are read into the architecture of `config`. An `adapter` is put on top.
    """
    # New weights depend on the seed alone, and the generators of the caller are left as they were.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _load(path, config, dtype, attn_implementation) if path else _create(config, dtype, attn_implementation)
        return _adapted(model, adapter)


def _create(config: PretrainedConfig | None, dtype: torch.dtype, attn_implementation: str) -> PreTrainedModel:
    if config is None:
        raise ValueError(
            "a model needs a config (to start from scratch) or a path (to load its weights): set one of them"
        )
    return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attn_implementation)


def _load(path: str, config: PretrainedConfig | None, dtype: torch.dtype, attn_implementation: str) -> PreTrainedModel:
    if not os.path.isdir(path):
        raise FileNotFoundError(f"there is no model folder {path}")
    # Safetensors only: the other format of weights is a pickle, which can run code.
    return AutoModelForCausalLM.from_pretrained(
        path,
        config=config,
        dtype=dtype,
        attn_implementation=attn_implementation,
        use_safetensors=True,
        local_files_only=True,
    )


def _adapted(model: PreTrainedModel, adapter: PeftConfig | None) -> PreTrainedModel:
    if adapter is None:
        return model
    # peft takes seconds to import, and most configs have no adapter.
    from peft import get_peft_model

    return get_peft_model(model, adapter)
