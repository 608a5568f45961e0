"""The model that is converted: what it is, and its tensors under the names of transformers, still in their files."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from forge.base.errors import ForgeError, ModelError
from forge.base.json_file import read_object
from forge.ml.convert.meta import PARAMETERS, llama_config
from forge.ml.models.adapter_folder import refuse_adapter
from forge.ml.models.consolidated import as_llama
from forge.ml.models.decoder.config import DecoderConfig
from forge.ml.models.filling import fill
from forge.ml.models.stored import Stored, open_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

    from forge.ml.models.stored import Weights

__all__ = ["SourceModel", "check_fit", "embedding_names", "empty_model", "open_source", "plain_config"]

_LIMIT: Final = 16 << 20
_LONGEST: Final = 200
_PORTION: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model folder that is open.

    ``kind`` is ``assembled`` for a decoder from parts under its own name, ``consolidated`` for what Meta publishes, and ``hf`` for
    all others. ``remarks`` are what had to be guessed.
    """

    folder: str
    kind: Literal["hf", "assembled", "consolidated"]
    config: PretrainedConfig
    plain: dict[str, Any]
    tensors: Mapping[str, Stored]
    remarks: tuple[str, ...] = ()
    seen: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    """Its files as they were before anything was read of them."""

    def refuse_changed(self) -> None:
        """ModelError when somebody has written to its files since: what was read would be of two models, and look like one."""
        now = _seen(self.folder)
        if changed := [name for name, before in self.seen.items() if now.get(name, before) != before]:
            raise ModelError(
                f"{os.path.join(self.folder, changed[0])} has changed while it was read",
                hint="start again when nothing writes to it",
            )


@contextmanager
def open_source(folder: str, max_length: int | None = None) -> Iterator[SourceModel]:
    """A model folder, as long as its files stay open; ModelError when its files do not fit its config, or are damaged."""
    if not os.path.isdir(folder):
        raise ModelError(f"there is no folder {folder}", hint="name the folder of a model: config.json and its weights")
    refuse_adapter(folder)
    seen = _seen(folder)
    with open_weights(folder) as weights:
        source = _source(folder, weights, max_length)
        model = empty_model(source.config)
        tensors = source.tensors
        if weights.consolidated:
            shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
            tensors = as_llama(weights, source.config, shapes)
        try:
            check_fit(model, tensors, folder)
        except ModelError as error:
            count = len(weights.parts)
            raise ModelError(error.what, hint=_parts_hint(count) if weights.consolidated else error.hint) from error
        yield replace(source, tensors=_without_doubles(model, tensors), seen=seen)


def empty_model(config: PretrainedConfig) -> PreTrainedModel:
    """The model of a config, without memory for its weights."""
    with torch.device("meta"):
        return _made(config)


def check_fit(model: PreTrainedModel, tensors: Mapping[str, Stored], folder: str) -> None:
    """ModelError unless these are the weights of the model, by names and shapes; nothing is read."""

    def read() -> Tensor:
        # Names and shapes are compared before the first tensor is read: that one is means that all of them fit.
        raise _FirstRead

    try:
        fill(model, {name: stored.read_by(read) for name, stored in tensors.items()}, folder=folder)
    except _FirstRead:
        return


def embedding_names(model: PreTrainedModel, tensors: Mapping[str, Stored]) -> list[str]:
    """The stored tensors that have a row for each token: embeddings, the output head, and its bias."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    rows = {id(weight) for layer in layers if layer is not None for weight in layer.parameters(recurse=False)}
    names = {name for name, weight in model.named_parameters(remove_duplicate=False) if id(weight) in rows}
    prefix = f"{model.base_model_prefix}."
    # The oldest folders have the names of the model without its head.
    return [name for name in tensors if name in names or prefix + name in names]


def plain_config(folder: str) -> dict[str, Any]:
    """A folder's config.json as it stands there."""
    return read_object(os.path.join(folder, "config.json"), _LIMIT)


class _FirstRead(BaseException):
    """The sign that a comparison has ended well; no library on the way may take it for an error of its own."""


def _seen(folder: str) -> dict[str, tuple[int, int, int]]:
    """What a write changes of each file in a folder; a file that is gone has been opened before, and can be read to its end."""
    found = {}
    for entry in os.scandir(folder):
        if entry.is_file():
            stat = entry.stat()
            found[entry.name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def _source(folder: str, weights: Weights, max_length: int | None) -> SourceModel:
    if weights.consolidated and not os.path.isfile(os.path.join(folder, "config.json")):
        if not os.path.isfile(os.path.join(folder, PARAMETERS)):
            raise ModelError(
                f"{folder} has consolidated weights, and neither config.json nor {PARAMETERS}",
                hint=f"copy the {PARAMETERS} that was published with them into it",
            )
        config, remarks = llama_config(folder, weights.parts, max_length)
        plain = json.loads(config.to_json_string(use_diff=True))
        return SourceModel(folder, "consolidated", config, plain, {}, remarks)
    plain, config = plain_config(folder), _config(folder)
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(
            f"the weights in {folder} are quantised", hint="take the model in bfloat16: quantise what is converted"
        )
    if weights.consolidated:
        return SourceModel(folder, "consolidated", config, plain, {})
    kind: Literal["assembled", "hf"] = "assembled" if isinstance(config, DecoderConfig) else "hf"
    return SourceModel(folder, kind, config, plain, weights.parts[0])


def _parts_hint(count: int) -> str:
    return f"there {'is' if count == 1 else 'are'} {count} consolidated*.pth: is one missing, or another model's?"


def _config(folder: str) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        # The library checks a config by errors of many kinds, some of them its dependencies'.
        raise ModelError(f"{os.path.join(folder, 'config.json')} cannot be used: {_beginning(error)}") from error


def _made(config: PretrainedConfig) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_config(deepcopy(config), trust_remote_code=False)
    except (ValueError, TypeError, ImportError, RuntimeError, ArithmeticError, LookupError) as error:
        # Also what torch and the model's own code make of sizes that cannot be.
        raise ModelError(f"{type(config).__name__}: {_beginning(error)}") from error


def _without_doubles(model: PreTrainedModel, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """All tensors but those that are tied to another and the same: some writers write them nevertheless."""
    ties = model.all_tied_weights_keys if getattr(model.config, "tie_word_embeddings", False) else {}
    twice = {
        name
        for name, other in ties.items()
        if name in tensors and other in tensors and _equal(tensors[name], tensors[other])
    }
    return {name: stored for name, stored in tensors.items() if name not in twice}


def _equal(one: Stored, other: Stored) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return all(torch.equal(a, b) for a, b in zip(one.portions(_PORTION), other.portions(_PORTION), strict=False))


def _beginning(error: Exception) -> str:
    text = " ".join((error.what if isinstance(error, ForgeError) else str(error)).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
