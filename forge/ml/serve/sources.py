"""Which folders a server reads: a model's, the newest checkpoint of one, and that of an adapter."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from forge.base.errors import ForgeError, ModelError
from forge.base.json_file import read_object
from forge.ml.checkpoint.store import Store
from forge.ml.models.adapter_folder import holds_adapter

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ServedSource", "checkpoints_of", "find_source"]

_LONGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ServedSource:
    """Where weights, texts (the tokenizer and the template) and an adapter come from; the name of what is served."""

    weights: str
    texts: str
    adapter: str | None
    name: str
    checkpoint: str | None = None
    """The name of the checkpoint that was found."""


def find_source(
    model: str, *, checkpoint: bool = False, adapter: str | None = None, say: Callable[[str], None]
) -> ServedSource:
    """Find what is to be served; ModelError when it is not there."""
    name = os.path.basename(os.path.abspath(model))
    if checkpoint:
        found = checkpoints_of(model).newest(say)
        if found is None:
            raise ModelError(f"there are no checkpoints in {model}", hint="train first, or leave -c out")
        return _source(found.path, adapter, name, found.name)
    return _source(model, adapter, name, None)


def checkpoints_of(model: str) -> Store:
    """The checkpoints in a model's folder, or in the folder of checkpoints itself."""
    inside = os.path.join(model, "checkpoints")
    return Store(inside if os.path.isdir(inside) else model)


def _source(folder: str, adapter: str | None, name: str, checkpoint: str | None) -> ServedSource:
    if not holds_adapter(folder):
        return ServedSource(folder, folder, adapter, name, checkpoint)
    if adapter is not None:
        raise ModelError(f"the folder {folder} holds an adapter already, and a model takes one here")
    base = _base(folder)
    if base is None or not os.path.isdir(base):
        raise ModelError(
            f"the folder {folder} holds an adapter, and the model that it belongs on is not at {base}",
            hint=f"name both: forge inf server -m MODEL_FOLDER --adapter {folder}",
        )
    texts = folder if os.path.isfile(os.path.join(folder, "tokenizer.json")) else base
    return ServedSource(base, texts, folder, name, checkpoint)


def _base(folder: str) -> str | None:
    try:
        base = read_object(os.path.join(folder, "adapter_config.json"), _LONGEST).get("base_model_name_or_path")
    except ForgeError:
        return None
    return base if isinstance(base, str) and base else None
