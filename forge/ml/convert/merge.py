"""A LoRA or DoRA adapter into the weights of its base model, one tensor at a time."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers.pytorch_utils import Conv1D

from forge.base.errors import CheckpointError, ModelError
from forge.base.json_file import read_object
from forge.ml.checkpoint.tensors import as_tensor, read_tensors
from forge.ml.models.adapter_folder import ADAPTER_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from forge.ml.models.stored import Stored

__all__ = ["Adapter", "merged", "read_adapter"]

_CONFIG: Final = "adapter_config.json"
_PREFIX: Final = "base_model.model."
_PART: Final = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(\.weight)?"
)
# Kinds of LoRA that change a weight in another way, by what their config says when they are not asked for.
_OTHER_KINDS: Final = (
    *("target_parameters", "layer_replication", "lora_bias", "use_qalora", "alora_invocation_tokens"),
    *("arrow_config", "use_bdlora", "trainable_token_indices", "kasa_config", "monteclora_config"),
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter folder: its config, and its tensors under the names of the base model's modules.

    ``low_rank`` has for each module its small matrices, ``whole`` the weights that take the place of the base model's.
    """

    folder: str
    config: dict[str, Any]
    low_rank: dict[str, dict[str, Tensor]] = field(repr=False)
    whole: dict[str, Tensor] = field(repr=False)

    @property
    def base(self) -> str | None:
        """The model that it was trained on, as its config has it."""
        return self.config.get("base_model_name_or_path") or None

    @property
    def in_assembly(self) -> bool:
        """Whether its modules have the names of an assembled decoder, which those of Llama have too."""
        return any(name.startswith("model.layers.") for name in (*self.low_rank, *self.whole))


def read_adapter(folder: str) -> Adapter:
    """The adapter in a folder; ModelError when it is of a kind that cannot be merged."""
    config = _config(os.path.join(folder, _CONFIG))
    try:
        raw = read_tensors(os.path.join(folder, ADAPTER_WEIGHTS))
    except CheckpointError as error:
        raise ModelError(error.what, hint=error.hint) from error
    low_rank: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    whole = {}
    for key, one in raw.items():
        name = key.removeprefix(_PREFIX)
        found = _PART.fullmatch(name)
        if found is None:
            whole[name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = as_tensor(one)
        else:
            low_rank[found["module"]][found["part"].replace("_embedding", "")] = as_tensor(one)
    for module, parts in low_rank.items():
        if not {"lora_A", "lora_B"} <= set(parts):
            raise ModelError(f"{folder}: the adapter of {module} is not whole: it has only {', '.join(sorted(parts))}")
    return Adapter(folder, config, dict(low_rank), whole)


def merged(model: PreTrainedModel, base: Mapping[str, Stored], adapter: Adapter) -> dict[str, Stored]:
    """The base model's tensors with the adapter in them; ``model`` is that model, without weights.

    What is computed is computed in float32, and rounded once.
    """
    prefix = f"{model.base_model_prefix}."
    expected = model.state_dict()
    found, used = {}, set()
    for name, stored in base.items():
        full = name if name in expected else prefix + name
        module = full.removesuffix(".weight")
        if full in adapter.whole:
            found[name] = _replaced(stored, adapter.whole[full])
            used.add(full)
            stored = found[name]  # noqa: PLW2901 - an embedding may be both replaced and adapted
        found[name] = stored
        if full != module and module in adapter.low_rank:
            found[name] = _adapted(stored, adapter, module, model.get_submodule(module))
            used.add(module)
    if unused := sorted({*adapter.low_rank, *adapter.whole} - used):
        raise ModelError(
            f"{adapter.folder}: {len(unused)} parts of the adapter fit nothing in the base model ({unused[0]})",
            hint="it was trained on another model: name that one with --base",
        )
    return found


def _config(path: str) -> dict[str, Any]:
    config = read_object(path, 1 << 20)
    if config.get("peft_type") != "LORA":
        raise ModelError(
            f"{path}: an adapter of the kind {config.get('peft_type')} cannot be merged; LoRA and DoRA can"
        )
    if other := [name for name in _OTHER_KINDS if config.get(name)]:
        raise ModelError(
            f"{path}: an adapter with {other[0]} cannot be merged", hint="merge it with peft's merge_and_unload"
        )
    return config


def _replaced(stored: Stored, tensor: Tensor) -> Stored:
    if tuple(tensor.shape[1:]) != stored.shape[1:] or len(tensor) < stored.shape[0]:
        raise ModelError(f"the adapter's {stored.name} is {tuple(tensor.shape)}, and the base model's {stored.shape}")

    return stored.read_by(lambda: tensor.to(stored.dtype), shape=tuple(tensor.shape))


def _adapted(stored: Stored, adapter: Adapter, module: str, layer: nn.Module) -> Stored:
    parts = adapter.low_rank[module]
    # These layers have their matrix the other way round, and so has an embedding.
    turned = isinstance(layer, (Conv1D, torch.nn.Embedding))
    if isinstance(layer, torch.nn.Embedding) and "lora_magnitude_vector" in parts:
        raise ModelError(f"{adapter.folder}: DoRA on the embeddings ({module}) cannot be merged")
    shape = (parts["lora_B"].shape[0], parts["lora_A"].shape[1])
    if shape != (stored.shape[::-1] if turned else stored.shape):
        raise ModelError(
            f"{adapter.folder}: the adapter of {module} is for {shape[0]} x {shape[1]}, and the base model has "
            f"{' x '.join(map(str, stored.shape))}",
            hint="it was trained on another model: name that one with --base",
        )
    scale = _scale(adapter.config, module, parts["lora_A"].shape[0])

    def changed(weight: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        wide = weight.float().t() if turned else weight.float()
        new = _with_low_rank(wide, own, scale)
        return (new.t() if turned else new).to(weight.dtype).contiguous()

    def part(places: Sequence[Tensor]) -> Tensor:
        rows, columns = places
        assert stored.part is not None  # noqa: S101 - for the type checker: it is asked for only where it is there
        whole = stored.part([rows, torch.arange(stored.shape[1])])
        return changed(whole, _of_rows(parts, rows, turned=turned))[:, columns]

    # The lengths that DoRA brings its rows to are not those of the turned ones.
    whole_only = stored.part is None or (turned and "lora_magnitude_vector" in parts)
    return stored.read_by(lambda: changed(stored.read(), parts), None if whole_only else part)


def _of_rows(parts: Mapping[str, Tensor], rows: Tensor, *, turned: bool) -> dict[str, Tensor]:
    """What of an adapter changes some rows of the stored tensor."""
    if turned:
        return {**parts, "lora_A": parts["lora_A"][:, rows]}
    kept = {"lora_B": parts["lora_B"][rows]}
    if "lora_magnitude_vector" in parts:
        kept["lora_magnitude_vector"] = parts["lora_magnitude_vector"].flatten()[rows]
    return {**parts, **kept}


def _with_low_rank(weight: Tensor, parts: Mapping[str, Tensor], scale: float) -> Tensor:
    new = weight + (parts["lora_B"].float() @ parts["lora_A"].float()) * scale
    magnitude = parts.get("lora_magnitude_vector")
    if magnitude is None:
        return new
    return new * (magnitude.float().flatten() / torch.linalg.norm(new, dim=1))[:, None]


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    patterns = config.get("alpha_pattern") or {}
    own = [alpha for pattern, alpha in patterns.items() if re.fullmatch(rf"(.*\.)?({pattern})", module)]
    alpha = float(own[0] if own else config["lora_alpha"])
    return alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
