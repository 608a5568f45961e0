"""A decoder of the `transformers` library, from scratch or from a folder of weights.

A model is first made without memory for its weights (on the meta device) and then filled. Between the two a layout may cut it up, so
that each process fills only what it keeps; without a layout `causal_lm` does both.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from forge.base.errors import ModelError
from forge.ml.models.adapter_folder import refuse_adapter
from forge.ml.models.filling import Slots
from forge.ml.models.kernels import put_kernels
from forge.ml.models.making import OneAtATime
from forge.ml.models.sdpa_backends import known_as
from forge.ml.models.vocabulary import grow_vocabulary
from forge.ml.models.weights import read_weights
from forge.ml.parallel.pieces import is_spread, piece_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from peft import PeftConfig
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["causal_lm", "deferred_weights", "materialise", "materialise_spread"]

_LONGEST_REASON: Final = 160
_MATRIX: Final = 2
_deferred: Final[ContextVar[bool]] = ContextVar("deferred", default=False)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What a model without weights still needs; it goes with the model as its attribute ``unfilled``."""

    path: str | None
    adapter: PeftConfig | None
    seed: int
    grown: frozenset[str]
    kernels: Mapping[str, str]


def causal_lm(
    config: PretrainedConfig | None = None,
    path: str | None = None,
    *,
    dtype: torch.dtype | str = torch.float32,
    attn_implementation: str = "sdpa",
    adapter: PeftConfig | None = None,
    resize_to: int | None = None,
    kernels: Literal["lean", "none", "liger"] = "none",
    fp8: Literal["none", "tensorwise", "rowwise", "rowwise_with_gw_hp"] = "none",
    seed: int = 42,
) -> nn.Module:
    """Make the decoder that `config` describes, by its own rules of initialisation, or read the one in the folder `path`.

    With both, the weights of the folder are read into the architecture of `config`. `dtype` may be its name, ``bfloat16``.
    `attn_implementation` is one that transformers knows by name, or ``auto``, and what was asked for stays in the model's attribute
    ``requested_attention``. `resize_to` is the number of embeddings where tokens were added to those of the folder; each new one begins as
    the mean of the others. An `adapter` is put on top. `kernels` and `fp8` name other ways to compute the same.
    """
    model = _without_weights(config, path, _type_named(dtype), attn_implementation)
    if path is None and resize_to is not None:
        raise ValueError("resize_to is for weights that are read from a path: from scratch, set config.vocab_size")
    _check_bits(adapter, path)
    grown = grow_vocabulary(model, resize_to) if resize_to is not None else frozenset()
    model.requested_attention = attn_implementation
    model.unfilled = _Recipe(path, adapter, seed, grown, {"kernels": kernels, "fp8": fp8})
    return model if _deferred.get() else materialise(model, "cpu")


@contextmanager
def deferred_weights() -> Iterator[None]:
    """Inside it, `causal_lm` returns a model without weights, which `materialise` fills."""
    token = _deferred.set(True)
    try:
        yield
    finally:
        _deferred.reset(token)


def materialise(model: nn.Module, device: torch.device | str = "cpu") -> nn.Module:
    """Fill a model that was made inside `deferred_weights`, on a device, and put its adapter on."""
    recipe = getattr(model, "unfilled", None)
    if recipe is None:
        raise ValueError("the model has its weights already, or was not made by causal_lm inside deferred_weights()")
    place = torch.device(device)
    # New weights depend on the seed alone, and the generators of the caller are left as they were.
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        if recipe.path is None:
            _initialise(model, place)
        else:
            _read(model, recipe, place)
        del model.unfilled
        put_kernels(model, place, **recipe.kernels)
        if recipe.adapter is None:
            return model
        torch.manual_seed(recipe.seed)  # the same adapter whatever was made up before it
        return _with_adapter(model, recipe.adapter)


def materialise_spread(
    model: nn.Module, device: torch.device, look: Callable[[nn.Module], None], spread: Callable[[nn.Module], None]
) -> nn.Module:
    """Fill a model that was made inside `deferred_weights`, each process with its own pieces.

    First its adapter is put on. ``look`` may then run parts of the model, whose weights mean nothing and take no memory, and
    ``spread`` cuts the empty model up.
    """
    recipe = model.unfilled
    slots = Slots.of(model)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(recipe.seed)
        with _stand_ins(slots):
            torch.manual_seed(recipe.seed)  # as in `materialise`
            whole = model if recipe.adapter is None else _with_adapter(model, recipe.adapter)
            look(whole)
        put_kernels(model, device, **recipe.kernels)  # nothing of the model is run any more while it is empty
        spread(whole)
        slots = slots.kept(whole)
        torch.manual_seed(recipe.seed)
        if recipe.path is None:
            _initialise_spread(model, slots, device)
        else:
            _read(model, recipe, device, slots)
    del model.unfilled
    return whole


@contextmanager
def _stand_ins(slots: Slots) -> Iterator[None]:
    """Inside, empty weights are tensors with numbers in them, whose rows lie over one another in memory, each a place further on."""
    empty = {name: getattr(*owner) for name, owner in slots.owners.items()}
    made: dict[int, Tensor] = {}
    for name, (module, leaf) in slots.owners.items():
        tensor = empty[name]
        if id(tensor) not in made:  # what is tied stays so
            made[id(tensor)] = _kind_of(tensor, _stand_in(tensor))
        _put(module, leaf, made[id(tensor)])
    yield
    for name, (module, leaf) in slots.owners.items():
        empty[name].requires_grad_(getattr(module, leaf).requires_grad)  # an adapter freezes them
        _put(module, leaf, empty[name])


def _stand_in(tensor: Tensor) -> Tensor:
    """No two rows of a matrix are alike: where all tokens were one to a model, none of its documents could be told from another."""
    if tensor.ndim < _MATRIX or not tensor.is_floating_point():
        return torch.randn(tensor.shape[-1:]).abs().add(0.5).to(tensor.dtype).expand(tensor.shape)
    rows, width = tensor.shape[-2:]
    numbers = torch.randn(rows + width - 1).div_(width**0.5).to(tensor.dtype)
    matrix = numbers.as_strided((rows, width), (1, 1))
    if tensor.ndim > _MATRIX:  # kernels for the matrices of experts want each of them whole
        matrix = matrix.contiguous()
    return matrix.expand(tensor.shape)


def _kind_of(like: Tensor, tensor: Tensor) -> Tensor:
    return torch.nn.Parameter(tensor, like.requires_grad) if isinstance(like, torch.nn.Parameter) else tensor


def _put(module: nn.Module, leaf: str, tensor: Tensor) -> None:
    own = module._parameters if leaf in module._parameters else module._buffers  # noqa: SLF001 - to keep the object itself
    own[leaf] = tensor


def _with_adapter(model: nn.Module, adapter: PeftConfig) -> nn.Module:
    # peft takes seconds to import, and most configs have no adapter.
    from forge.ml.models.adapter import put_adapter

    return put_adapter(model, adapter)


def _type_named(dtype: torch.dtype | str) -> torch.dtype:
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype is the type of the weights, such as bfloat16 or float32, not {dtype!r}")
    return found


def _without_weights(
    config: PretrainedConfig | None, path: str | None, dtype: torch.dtype, attn_implementation: str
) -> PreTrainedModel:
    if config is None and path is None:
        raise ValueError(
            "a model needs a config (to start from scratch) or a path (to load its weights): set one of them"
        )
    if path is not None and not os.path.isdir(path):
        raise ModelError(
            f"there is no model folder {path}",
            hint="give the path of a folder with config.json and weights (model.path, -M); `forge download` gets one from the Hub",
        )
    # A copy: the model keeps its dtype and other facts in it, and the same config may describe another model.
    config = _config(path) if config is None else deepcopy(config)
    if path is not None:
        config.name_or_path = path
        _refuse_quantised(config, path)
    with torch.device("meta"):
        return _made(config, dtype, attn_implementation)


def _made(config: PretrainedConfig, dtype: torch.dtype, attn_implementation: str) -> PreTrainedModel:
    # What is not said, transformers chooses: the fastest that the architecture has.
    attention = None if attn_implementation == "auto" else known_as(attn_implementation)
    try:
        return AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention, trust_remote_code=False
        )
    except (ValueError, ImportError) as error:
        hint = (
            "take auto, or eager: model.attn_implementation=auto, of a server --attn-implementation auto"
            if "attention" in str(error).lower()
            else None
        )
        # The library explains on many lines and long ones; the beginning says it.
        raise ModelError(f"{type(config).__name__}: {_beginning(error)}", hint=hint) from error


def _config(path: str) -> PretrainedConfig:
    if not os.path.isfile(os.path.join(path, "config.json")):
        refuse_adapter(path)
        weights = any(name.endswith((".pth", ".bin", ".safetensors")) for name in os.listdir(path))
        alone = "choose the config of the model, such as model=llama3.1_8b with model.path=FOLDER"
        other = "give the folder of a model (model.path, -M); `forge download` gets one from the Hub"
        raise ModelError(f"the folder {path} has no config.json", hint=alone if weights else other)
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError, StrictDataclassError) as error:
        raise ModelError(f"{os.path.join(path, 'config.json')} cannot be used: {_beginning(error)}") from error


def _refuse_quantised(config: PretrainedConfig, path: str) -> None:
    settings = getattr(config, "quantization_config", None)
    if settings is not None:
        method = settings.get("quant_method") if isinstance(settings, dict) else type(settings).__name__
        raise ModelError(
            f"the weights in {path} are quantised ({method}), and such weights cannot be trained",
            hint="take the model in bfloat16; for four bits while training choose the adapter qlora",
        )


def _initialise(model: PreTrainedModel, device: torch.device) -> None:
    """Give a model the weights that its library makes for its config.

    They are made on the CPU, so that a seed means the same numbers on every device.
    """
    made = _initialised(model)
    moved: dict[int, Tensor] = {}
    for (_, empty), (_, full) in zip(model.named_modules(), made.named_modules(), strict=True):
        for own, theirs in ((empty._parameters, full._parameters), (empty._buffers, full._buffers)):  # noqa: SLF001 - to fill them
            for name in own:
                own[name] = _moved(theirs[name], device, moved)
                theirs[name] = None  # one weight after another leaves the CPU
    model.train(made.training)


def _initialise_spread(model: PreTrainedModel, slots: Slots, device: torch.device) -> None:
    """The same numbers for a model that is cut up: each process makes one weight after another, and keeps its pieces."""
    with OneAtATime() as making:
        made = _initialised(model)
    theirs = Slots.of(made)
    moved: dict[int, Tensor] = {}
    for name, (module, leaf) in slots.owners.items():
        owner, own = theirs.owners[name]
        tensor = getattr(owner, own)
        if id(tensor) not in moved:
            empty = getattr(module, leaf)
            with making.whole(tensor.detach()) as whole:
                piece = piece_of(whole if is_spread(empty) else whole.clone(), empty, device)
            moved[id(tensor)] = _kind_of(empty, piece)
        _put(module, leaf, moved[id(tensor)])


def _initialised(model: PreTrainedModel) -> PreTrainedModel:
    config = model.config
    return AutoModelForCausalLM.from_config(
        deepcopy(config),
        dtype=config.dtype,
        attn_implementation=config._attn_implementation,  # noqa: SLF001 - no public name
    )


def _moved(tensor: Tensor | None, device: torch.device, moved: dict[int, Tensor]) -> Tensor | None:
    """The tensor on the device; one that is shared stays shared."""
    if tensor is None or tensor.device == device:
        return tensor
    if id(tensor) not in moved:
        there = tensor.detach().to(device)
        moved[id(tensor)] = (
            torch.nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else there
        )
    return moved[id(tensor)]


def _read(model: PreTrainedModel, recipe: _Recipe, device: torch.device, slots: Slots | None = None) -> None:
    path = recipe.path
    read_weights(model, path, device, grown=recipe.grown, change=_change(model, recipe.adapter), slots=slots)
    if recipe.grown:
        model.grown = recipe.grown  # an adapter has to be saved with the embeddings that its base model does not have
    if os.path.isfile(os.path.join(path, "generation_config.json")):
        model.generation_config = GenerationConfig.from_pretrained(path, local_files_only=True)
    model.eval()


def _change(model: PreTrainedModel, adapter: PeftConfig | None) -> Callable[[str, Tensor], Tensor] | None:
    """What becomes of each weight that is read: four bits where the adapter asks for it."""
    if not _bits_wanted(adapter):
        return None
    from forge.ml.models.adapter import four_bits

    return four_bits(model)


def _check_bits(adapter: PeftConfig | None, path: str | None) -> None:
    """Refuse an adapter on base weights of few bits that cannot be had, before any data is prepared for it."""
    if not _bits_wanted(adapter):
        return
    if path is None:
        raise ValueError(
            "the adapter qlora is for weights that are read from a path: new weights cannot stay as they are"
        )
    from forge.ml.models.adapter import check_four_bits

    check_four_bits()


def _bits_wanted(adapter: PeftConfig | None) -> bool:
    return getattr(adapter, "base_weights", None) is not None


def _beginning(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."
