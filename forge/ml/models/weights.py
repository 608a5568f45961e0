"""Reading the weights of a folder into a model, whatever the folder calls them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from forge.base.errors import ModelError
from forge.ml.models.adapter_folder import ADAPTER_WEIGHTS
from forge.ml.models.consolidated import as_llama
from forge.ml.models.decoder.family import as_family
from forge.ml.models.filling import fill
from forge.ml.models.stored import Stored, open_weights
from forge.ml.parallel.pieces import is_spread, piece_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from forge.ml.models.filling import Slots
    from forge.ml.models.stored import Weights

__all__ = ["load_weights", "read_weights"]


def read_weights(
    model: PreTrainedModel,
    folder: str,
    device: torch.device | str | None = None,
    *,
    grown: Collection[str] = (),
    change: Callable[[str, Tensor], Tensor] | None = None,
    slots: Slots | None = None,
) -> None:
    """Read the weights of a model folder into a model; see `fill` for one that has none yet."""
    with open_weights(folder) as weights:
        stored = _as_the_model_has_them(model, weights)
        fill(model, stored, folder=folder, device=device, grown=grown, change=change, slots=slots)


def load_weights(model: nn.Module, folder: str) -> None:
    """Put the weights of a checkpoint's folder into the model that it was saved of; with an adapter, into the adapter."""
    if hasattr(model, "peft_config"):
        _load_adapter(model, folder)
    else:
        read_weights(model, folder)


def _as_the_model_has_them(model: PreTrainedModel, weights: Weights) -> Mapping[str, Stored]:
    if weights.consolidated:
        return as_llama(weights, model.config, {name: tuple(t.shape) for name, t in model.state_dict().items()})
    stored = weights.parts[0]
    family = as_family(model)
    own = f"{model.base_model_prefix}."
    if family is None or family.same_names or any(name.startswith(own) for name in stored):
        return stored
    # An assembly that is saved as the known architecture it equals.
    tensors = family.from_family({name: one.read() for name, one in stored.items()})
    return {name: _already_read(name, weights.folder, tensor) for name, tensor in tensors.items()}


def _already_read(name: str, folder: str, tensor: Tensor) -> Stored:
    return Stored(name, folder, tuple(tensor.shape), tensor.dtype, lambda: tensor)


def _load_adapter(model: nn.Module, folder: str) -> None:
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = os.path.join(folder, ADAPTER_WEIGHTS)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read ({error})") from error
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
    if wrong := sorted(
        name for name, shape in shapes.items() if name not in tensors or tuple(tensors[name].shape) != shape
    ):
        raise ModelError(
            f"{path} does not fit the adapter: {len(wrong)} of its weights are absent or of another shape ({wrong[0]})",
            hint="use the adapter settings (r, target_modules) that it was saved with",
        )
    if any(map(is_spread, own.values())):
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(piece_of(tensors[name], tensor))
        return
    set_peft_model_state_dict(model, tensors)
