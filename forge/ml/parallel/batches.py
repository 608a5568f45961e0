"""When the gradients of a step are summed over processes: with each of its batches, or with the last one only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import nn

    from forge.ml.parallel.world import World

__all__ = ["last_of_step"]

_SYNCHRONISED_ONCE: Final = (0, 1)  # the stages that keep whole gradients until the last batch of a step


def last_of_step(model: nn.Module, world: World, *, last: bool) -> None:
    """Say before a batch whether it is the last one of its step, after which whole gradients are summed."""
    if world.alone or world.layout.zero_stage not in _SYNCHRONISED_ONCE:
        return
    shared: Any = model
    if hasattr(shared, "set_requires_gradient_sync"):
        shared.set_requires_gradient_sync(last)
