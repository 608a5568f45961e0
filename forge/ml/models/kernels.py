"""Other ways to compute what a model computes, put into it while its own code stays: lean backward passes, Liger's kernels, products of 8 bits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from forge.base.errors import ModelError
from forge.ml.models.lean import put_lean
from forge.plan.kernels import kernel_problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["check_kernel", "put_fp8", "put_kernels"]

_MULTIPLE: Final = 16  # of a side of a matrix, for products of 8 bits
_ADA: Final = (8, 9)


def put_kernels(model: PreTrainedModel, device: torch.device, *, kernels: str = "none", fp8: str = "none") -> None:
    """Let a model compute by the kernels of these names, on a device; the names of its weights stay.

    What the loss is computed of stays with forge: its own loss never holds all logits, and reads the head in the type that it has.
    """
    check_kernel("kernels", kernels, device)
    check_kernel("fp8", fp8, device)
    if kernels == "lean":
        put_lean(model)
    if kernels == "liger":
        _put_liger(model)
    if fp8 != "none":
        if device.type == "cuda" and torch.cuda.get_device_capability(device) < _ADA:
            raise ModelError("fp8 needs a GPU of CUDA capability 8.9 or later", hint="model.fp8=none")
        put_fp8(model, fp8)


def check_kernel(setting: str, name: str, device: torch.device | str) -> None:
    """Refuse a choice that training on this device, with what is installed, cannot have."""
    kind = "cuda" if torch.device(device).type == "cuda" else "cpu"
    what, why, ways = kernel_problem(setting, name, kind, here=True)
    if what:
        raise ValueError("\n  ".join([f"{what}: {why}", "possible:", *(f"  {way}" for way in ways)]))


def _put_liger(model: PreTrainedModel) -> None:
    from liger_kernel.transformers import _apply_liger_kernel_to_instance
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ModelError(f"Liger has no kernels for a {model.config.model_type}", hint="model.kernels=none")
    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)


def put_fp8(model: PreTrainedModel, recipe: str, *, emulate: bool = False) -> None:
    """Let the linear layers of a model, all but its head, multiply in 8 bits; with ``emulate`` on any device, slowly."""
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    head = model.get_output_embeddings()

    def wanted(module: nn.Module, _: str) -> bool:
        sides: Any = module.weight.shape if isinstance(module, nn.Linear) else (1,)
        return module is not head and all(side % _MULTIPLE == 0 for side in sides)

    config = replace(Float8LinearConfig.from_recipe_name(recipe), emulate=emulate)
    convert_to_float8_training(model, module_filter_fn=wanted, config=config)
