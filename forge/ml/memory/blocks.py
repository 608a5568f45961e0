"""The layers of a decoder, and how something is put around each of them."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import nn

__all__ = ["Forward", "blocks", "blocks_or_none", "holds_cache", "wrap_forward"]

Forward = Callable[..., Any]
"""What a block computes, as a function whose first argument is the block."""


def blocks(model: nn.Module) -> list[nn.Module]:
    """The decoder layers of a model, adapters around it or not: of its lists of modules, the one with the most parameters."""
    found = blocks_or_none(model)
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no list of decoder layers (torch.nn.ModuleList), so nothing can be done layer by "
            "layer: turn gradient_checkpointing and torch_compile off for this model"
        )
    return found


def blocks_or_none(model: nn.Module) -> list[nn.Module]:
    """The same, and none where there is no such list."""
    found = [layers for layers in _outermost_lists(model) if all(any(block.children()) for block in layers)]
    return list(max(found, key=_size, default=()))


def wrap_forward(block: nn.Module, around: Callable[[Forward], Forward]) -> None:
    """Let `around` make the block's new forward out of its present one.

    Only the function changes: names in the state dict, hooks and the class of the block stay. It is bound as a method, so that
    a deep copy of the block is wrapped around itself and not around the original.
    """
    block.forward = MethodType(around(_unbound(block)), block)


def holds_cache(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a block is given a cache of keys and values, as in generation and never in training."""
    return any(hasattr(value, "get_seq_length") for value in (*args, *kwargs.values()))


def _unbound(block: nn.Module) -> Forward:
    """The present forward as a function of the block."""
    present = block.forward
    if isinstance(present, MethodType):
        return present.__func__
    return lambda _, *args, **kwargs: present(*args, **kwargs)


def _outermost_lists(module: nn.Module) -> list[nn.ModuleList]:
    found: list[nn.ModuleList] = []
    for child in module.children():
        # What lies inside a layer, such as a list of experts, is no list of layers.
        found += [child] if isinstance(child, nn.ModuleList) and len(child) else _outermost_lists(child)
    return found


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
