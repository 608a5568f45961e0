"""Folders that hold an adapter and no model, as `peft` saves them and as a run that trains an adapter does."""

from __future__ import annotations

import os
from typing import Final

from forge.base.errors import ForgeError, ModelError
from forge.base.json_file import read_json

__all__ = ["ADAPTER_WEIGHTS", "holds_adapter", "refuse_adapter"]

ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_CONFIG: Final = "adapter_config.json"
_LIMIT: Final = 1 << 20


def holds_adapter(folder: str) -> bool:
    """Whether the folder holds an adapter, and not a whole model."""
    here = [os.path.isfile(os.path.join(folder, name)) for name in (_CONFIG, "config.json")]
    return here == [True, False]


def refuse_adapter(folder: str) -> None:
    """ModelError for a folder with an adapter where a model is needed: what it belongs on, and how to say so."""
    if not holds_adapter(folder):
        return
    base = _base(folder)
    model = f"-M {base or 'MODEL_FOLDER'}"
    raise ModelError(
        f"the folder {folder} holds an adapter{f' for {base}' if base else ''}, and no model",
        hint=f"take a config with such an adapter: forge eval {model} --checkpoint {folder}, or to train on, "
        f"forge train {model} --resume-from-checkpoint {folder}",
    )


def _base(folder: str) -> str | None:
    """The model that the adapter was trained on, if the folder says so."""
    try:
        found = read_json(os.path.join(folder, _CONFIG), _LIMIT)["base_model_name_or_path"]
    except (ForgeError, LookupError, TypeError):
        return None
    return found if isinstance(found, str) and found else None
