"""Gradient clipping that never waits for the device, also where each process has only pieces of the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from forge.ml.parallel.norms import total_norm
from forge.ml.parallel.pieces import local

if TYPE_CHECKING:
    from collections.abc import Iterable

    from forge.ml.parallel.world import World

__all__ = ["clip_"]

_LEAST: Final = 1e-6  # so that nothing is divided by nothing


def clip_(
    parameters: Iterable[torch.Tensor],
    *,
    max_norm: float | None = None,
    max_value: float | None = None,
    world: World | None = None,
) -> torch.Tensor:
    """Clip the gradients in place, by value first and then by norm, and return their norm before both, as a tensor.

    With neither limit the gradients stay as they are and only the norm is taken. Whether it is finite is for the caller to ask.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients and world is None:
        return torch.zeros(())
    norm = total_norm(gradients, world)
    held = [piece for gradient in gradients if (piece := local(gradient)).numel()]
    if max_value is not None:
        for piece in held:
            piece.clamp_(-max_value, max_value)
    if max_norm is not None:
        after = norm if max_value is None else total_norm(gradients, world)
        factor = (max_norm / (after + _LEAST)).clamp(max=1.0)
        for piece in held:
            piece.mul_(factor.to(piece.device))
    return norm
