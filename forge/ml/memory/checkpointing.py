"""Gradient checkpointing: activations inside the layers are computed again in the backward pass instead of kept."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from forge.base.errors import ModelError
from forge.ml.memory.blocks import Forward, blocks, holds_cache, wrap_forward
from forge.ml.memory.remaking import kept_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["Checkpointing", "checkpoint_blocks", "checkpointing_period"]

Checkpointing = bool | int | Literal["full", "selective"]
"""Every layer (true or full), every n-th layer (n), only the cheap operations of every layer (selective), or none (false)."""

_aten = torch.ops.aten
# Matrix multiplications and attention are most of the work of a layer; what lies between them is cheap to do again.
_KEPT_NAMES = (
    ("mm", "default"),
    ("addmm", "default"),
    ("bmm", "default"),
    ("baddbmm", "default"),
    ("linear", "default"),
    ("_scaled_dot_product_flash_attention", "default"),
    ("_scaled_dot_product_efficient_attention", "default"),
    ("_scaled_dot_product_cudnn_attention", "default"),
    ("_scaled_dot_product_flash_attention_for_cpu", "default"),
    ("_scaled_dot_product_fused_attention_overrideable", "default"),
)
_KEPT = frozenset(getattr(getattr(_aten, name), overload) for name, overload in _KEPT_NAMES if hasattr(_aten, name))


def checkpoint_blocks(model: nn.Module, how: Checkpointing) -> int:
    """Checkpoint the decoder layers as `how` says, and return how many of them are.

    Nothing changes outside of training: without gradients a layer runs as it is. The loss and the gradients are those of
    the same model without checkpoints, bit for bit, because the same kernels run again on the same inputs.
    """
    period = checkpointing_period(how)
    if period is None:
        return 0
    chosen = blocks(model)[period - 1 :: period]
    for block in chosen:
        settings: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": _draws_random_numbers(block)}
        if how == "selective":
            settings["context_fn"] = _selecting
        wrap_forward(block, partial(_checkpointed, settings))
    return len(chosen)


def checkpointing_period(how: Checkpointing) -> int | None:
    """The n of "every n-th layer", or None for no checkpoints; anything else than a `Checkpointing` is refused."""
    if how is False:
        return None
    if how is True or how in ("full", "selective"):
        return 1
    if isinstance(how, int) and how >= 1:
        return how
    raise ValueError(
        "gradient_checkpointing is true or full (every layer), n (every n-th layer), selective (keep matrix products, compute "
        f"the rest again) or false, not {how!r}"
    )


def _checkpointed(settings: dict[str, Any], inner: Forward) -> Forward:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return inner(self, *args, **kwargs)
        _refuse_cache(self, args, kwargs)
        # A checkpoint keeps what it is given by position where hooks see it; what is given by name stays beyond their reach.
        names = [name for name, value in kwargs.items() if isinstance(value, torch.Tensor) and value.requires_grad]
        tensors = [kwargs.pop(name) for name in names]
        return checkpoint(partial(_call, inner, self, names, kwargs, len(args)), *args, *tensors, **settings)

    return forward


def _call(
    inner: Callable[..., Any], block: nn.Module, names: list[str], kwargs: dict[str, Any], count: int, *values: Any
) -> Any:
    """Call with the first `count` values by position and the others by their names."""
    named = dict(zip(names, values[count:], strict=True))
    if torch.compiler.is_compiling():
        return inner(block, *values[:count], **kwargs, **named)
    with kept_elsewhere():
        return inner(block, *values[:count], **kwargs, **named)


def _selecting() -> tuple[Any, Any]:
    """The contexts of one forward pass of a layer and of its repetition."""
    contexts: tuple[Any, Any] = create_selective_checkpoint_contexts(partial(_policy, set()))
    return contexts


def _policy(kept: set[int], context: Any, operation: Any, *args: Any, **_kwargs: Any) -> CheckpointPolicy:
    if operation in _KEPT:
        kept.update(_memory(context.op_output))
        return CheckpointPolicy.MUST_SAVE
    # Torch notices it only where what is kept is written to by its own name, and not by that of a view.
    schema = getattr(operation, "_schema", None)  # what is made of several operations has none
    if schema is not None and schema.is_mutable and not kept.isdisjoint(_memory(args[:1])):
        raise ModelError(
            f"selective checkpoints keep the result of a matrix, and a layer writes over it ({operation})",
            hint="set trainer.gradient_checkpointing=true",
        )
    return CheckpointPolicy.PREFER_RECOMPUTE


def _memory(values: Any) -> list[int]:
    """Where the tensors among some values lie."""
    several = values if isinstance(values, tuple) else (values,)
    return [each.untyped_storage()._cdata for each in several if isinstance(each, torch.Tensor)]  # noqa: SLF001 - the same for all views


def _refuse_cache(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    # A layer that runs twice would write its keys and values twice.
    if holds_cache(args, kwargs):
        raise ValueError(
            f"{type(block).__name__} is checkpointed and was given a cache of keys and values, which training has no use "
            "for: call the model with use_cache=False"
        )


def _draws_random_numbers(block: nn.Module) -> bool:
    """Whether the block has dropout or jitter: only then have the random numbers to be the same when it is computed again."""
    return any(
        _is_chance(name, value) for module in block.modules() for name, value in (*vars(module).items(), *_rate(module))
    )


def _rate(module: nn.Module) -> tuple[tuple[str, Any], ...]:
    return (("dropout", module.p),) if "Dropout" in type(module).__name__ and hasattr(module, "p") else ()


def _is_chance(name: str, value: object) -> bool:
    return ("drop" in name or "jitter" in name) and isinstance(value, (int, float)) and value > 0
