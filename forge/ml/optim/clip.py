"""Gradient clipping that never waits for the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["clip_"]


def clip_(
    parameters: Iterable[torch.Tensor], *, max_norm: float | None = None, max_value: float | None = None
) -> torch.Tensor:
    """Clip the gradients in place, by value first and then by norm, and return their norm before both, as a tensor.

    With neither limit the gradients stay as they are and only the norm is taken. Whether it is finite is for the caller to ask.
    """
    held = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in held]
    if not gradients:
        return torch.zeros(())
    norm = torch.nn.utils.get_total_norm(gradients)
    if max_value is not None:
        torch.nn.utils.clip_grad_value_(held, max_value)
    if max_norm is not None:
        after = norm if max_value is None else torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(held, max_norm, after)
    return norm
