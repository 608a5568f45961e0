"""What a model and its tokenizer look like as files of a Hugging Face folder; who writes them is another matter."""

from __future__ import annotations

import json
import os
import tempfile
from copy import deepcopy
from sys import modules
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

from forge.ml.models.decoder.config import DecoderConfig
from forge.ml.models.decoder.family import as_family
from forge.ml.models.decoder.modeling import DecoderForCausalLM
from forge.ml.models.decoder.standalone import code_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from forge.ml.parallel.world import World

__all__ = ["config_files", "model_files"]

_SHARD: Final = 5 << 30


def model_files(
    model: nn.Module,
    max_shard_size: int = _SHARD,
    *,
    held: Mapping[str, Tensor] | None = None,
    world: World | None = None,
) -> Iterator[tuple[str, dict[str, Tensor] | bytes]]:
    """The safetensors files of a model by name, and their index where there are several; with an adapter, those of it alone.

    The tensors are the model's own, not copies, under the names that others expect; what is tied is there once. ``held`` are
    other tensors in place of the model's. Where each process of a ``world`` holds a part of them, it gets the files of that part,
    numbered among those of all; the first one gets the index.
    """
    stem, tensors = _tensors(model, held)
    mine = [{name: tensors[name].nbytes for name in names} for names in _shards(stem, tensors, max_shard_size)]
    parts = [mine] if world is None else world.exchange(mine)
    shards = [shard for part in parts for shard in part]
    before = 0 if world is None else sum(len(part) for part in parts[: world.rank])
    names = [_file_name(stem, number, len(shards)) for number in range(len(shards))]
    for number, shard in enumerate(mine, before):
        yield names[number], {tensor: tensors[tensor].contiguous() for tensor in shard}
    if len(shards) > 1 and (world is None or world.first):
        size = sum(size for shard in shards for size in shard.values())
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        yield f"{stem}.safetensors.index.json", _json({"metadata": {"total_size": size}, "weight_map": places})


def config_files(model: nn.Module, tokenizer: PreTrainedTokenizerBase | None = None) -> dict[str, bytes]:
    """The files of the folder by name that hold no weights: configs, and the tokenizer with its chat template."""
    files = _adapter_config(model) if _has_adapter(model) else _model_config(model)
    return files | (_tokenizer_files(tokenizer) if tokenizer is not None else {})


def _has_adapter(model: nn.Module) -> bool:
    return hasattr(model, "peft_config")


def _tensors(model: nn.Module, held: Mapping[str, Tensor] | None) -> tuple[str, dict[str, Tensor]]:
    """The name that the files begin with, and the tensors to save."""
    if _has_adapter(model):
        return "adapter_model", _adapter_tensors(model, held)
    known, tensors = _known_form(model, dict(model.state_dict() if held is None else held))
    for name in known._keys_to_ignore_on_save or ():  # noqa: SLF001 - the models' own list, with no public name
        tensors.pop(name, None)
    tensors = remove_tied_weights_from_state_dict(tensors, known)
    return "model", revert_weight_conversion(known, tensors)


def _known_form(model: PreTrainedModel, tensors: dict[str, Tensor]) -> tuple[PreTrainedModel, dict[str, Tensor]]:
    """The model and its tensors; for an assembly that equals a known architecture, those of that architecture."""
    family = as_family(model)
    if family is None:
        return model, tensors
    with torch.device("meta"):
        known = AutoModelForCausalLM.from_config(deepcopy(family.config), dtype=model.dtype)
    known.generation_config = model.generation_config
    return known, family.to_family(tensors)


def _adapter_tensors(model: Any, held: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    from peft import get_peft_model_state_dict

    # New embeddings are in no file of the base model. (Left to itself, peft would look for that model on the Hub.)
    grown = bool(getattr(model.get_base_model(), "grown", ()))
    tensors = get_peft_model_state_dict(model, state_dict=held, save_embedding_layers=grown)
    first = {(tensor.device, tensor.data_ptr()): name for name, tensor in reversed(tensors.items())}
    return {name: tensor for name, tensor in tensors.items() if first[tensor.device, tensor.data_ptr()] == name}


def _shards(stem: str, tensors: Mapping[str, Tensor], limit: int) -> list[list[str]]:
    """The names of the tensors in each file, filled in order up to the limit."""
    shards: list[list[str]] = []
    size = 0
    for name, tensor in tensors.items():
        if not shards or (size + tensor.nbytes > limit and stem == "model"):
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    return shards


def _file_name(stem: str, number: int, count: int) -> str:
    return f"{stem}.safetensors" if count == 1 else f"{stem}-{number + 1:05}-of-{count:05}.safetensors"


def _model_config(model: PreTrainedModel) -> dict[str, bytes]:
    family = as_family(model)
    config = deepcopy(model.config if family is None else family.config)
    config.architectures = [_architecture(model, config)]
    config.dtype = str(model.dtype).removeprefix("torch.")
    files = {"config.json": config.to_json_string(use_diff=True).encode()}
    if model.can_generate():
        # As it was read: published generation settings that contradict themselves must not stop a checkpoint.
        files["generation_config.json"] = model.generation_config.to_json_string(use_diff=True).encode()
    if family is None and isinstance(config, DecoderConfig):
        files |= {name: text.encode() for name, text in code_files(config).items()}
    return files


def _architecture(model: PreTrainedModel, config: PretrainedConfig) -> str:
    """The class that others load the folder with; that of an assembly is in the code file beside it."""
    if isinstance(config, DecoderConfig):
        return DecoderForCausalLM.__name__
    if isinstance(model.config, DecoderConfig):
        return str(AutoModelForCausalLM._model_mapping[type(config)].__name__)  # noqa: SLF001 - no public name
    # What shares a model among processes gives it a class that is in no module, made of one of its own and of the model's.
    kinds = (kind for kind in type(model).__mro__ if issubclass(kind, PreTrainedModel))
    return next(kind.__name__ for kind in kinds if getattr(modules.get(kind.__module__), kind.__name__, None) is kind)


def _adapter_config(model: Any) -> dict[str, bytes]:
    config = deepcopy(model.peft_config["default"])
    config.inference_mode = True
    config.base_model_name_or_path = config.base_model_name_or_path or None
    settings = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    return {"adapter_config.json": _json(settings)}


def _tokenizer_files(tokenizer: PreTrainedTokenizerBase) -> dict[str, bytes]:
    """What the tokenizer writes of itself, into a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="forge-") as folder:
        tokenizer.save_pretrained(folder)
        return dict(_contents(folder))


def _contents(folder: str) -> Iterator[tuple[str, bytes]]:
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                yield os.path.relpath(path, folder), file.read()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
