"""What processes tell each other with each batch of a step, and what with the last one only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch import nn

    from forge.ml.parallel.world import World

__all__ = ["last_of_step"]

_SYNCHRONISED_ONCE: Final = (0, 1)  # the stages that keep whole gradients until the last batch of a step
_WHOLE_WEIGHTS: Final = (1, 2)  # those that keep whole weights until then


def last_of_step(model: nn.Module, world: World, *, last: bool) -> None:
    """Say before a batch whether it is the last one of its step.

    After it whole gradients are summed, those of pieces are summed over copies, and whole weights are given up: they are the same for
    all batches of a step.
    """
    shared: Any = model
    if world.alone or not hasattr(shared, "set_requires_gradient_sync"):
        return
    stage = world.layout.zero_stage
    if stage in _SYNCHRONISED_ONCE:
        shared.set_requires_gradient_sync(last)
    elif world.layout.dp_replicate > 1:
        shared.set_requires_all_reduce(last)
    if stage in _WHOLE_WEIGHTS:
        shared.set_reshard_after_backward(last)
