"""The weights of what is served: a model's folder, with or without an adapter, on the device there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from forge.base.errors import ModelError, UsageError
from forge.base.machine_memory import free_memory
from forge.ml.models.adapter_folder import holds_adapter, refuse_adapter
from forge.ml.models.causal import causal_lm, deferred_weights, materialise
from forge.ml.serve.pages import bytes_of_a_token, kept_sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["free_tokens", "load_served_model", "serving_device"]

_DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def serving_device(name: str | None = None) -> torch.device:
    """The device that was asked for, or the best there is."""
    if name is not None:
        try:
            device = torch.device(name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # torch that was built without CUDA asserts that it was
            raise UsageError(
                f"there is no device {name!r} here: {str(error)[:160]}",
                hint="write --device cpu, or leave it out for the best there is",
            ) from error
        return device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_served_model(
    folder: str, device: torch.device, *, dtype: str = "auto", adapter: str | None = None, attention: str = "auto"
) -> Any:
    """The model of a folder, ready to generate; an adapter is merged into it."""
    refuse_adapter(folder)
    with deferred_weights():
        model = causal_lm(path=folder, dtype=_dtype(folder, dtype), attn_implementation=attention)
    model = materialise(model, device)
    if adapter is not None:
        model = _with_adapter(model, adapter)
    for weight in model.parameters():
        weight.requires_grad_(requires_grad=False)
    return model.eval()


def free_tokens(model: Any, share: float = 0.8) -> int:
    """For how many tokens there is room to keep keys and values: of a GPU's free memory, or of the machine's."""
    weight = next(model.parameters())
    each, device = bytes_of_a_token(kept_sizes(model), weight.element_size()), weight.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory() // 2
    # The rest is for a step: it copies the keys and values of a layer out of their pages, and repeats the heads of prompts.
    return max(int(free * share / 3 / each), 1)


def _dtype(folder: str, name: str) -> torch.dtype:
    if name != "auto":
        return _DTYPES[name]
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(folder, trust_remote_code=False).dtype
    except (ValueError, OSError) as error:
        raise ModelError(f"the folder {folder} has no config that can be read: {str(error)[:160]}") from error
    return found if found in _DTYPES.values() else torch.float32


def _with_adapter(model: Any, folder: str) -> Any:
    if not holds_adapter(folder):
        raise ModelError(f"the folder {folder} holds no adapter", hint="it needs adapter_config.json and its weights")
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, is_trainable=False).merge_and_unload()
