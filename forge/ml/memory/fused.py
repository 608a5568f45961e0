"""The optimizer inside the backward pass: each parameter moves as soon as its gradient is there, which is freed at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from forge.ml.parallel.norms import norm_over, spread_over
from forge.ml.parallel.pieces import local

if TYPE_CHECKING:
    from torch.optim import Optimizer

__all__ = ["FusedBackward"]


class FusedBackward:
    """Steps an optimizer parameter by parameter during `backward()`, so that one gradient is alive at a time.

    The optimizer stays what it is: its groups, its schedule and its state dict are those of a plain one, so that a checkpoint
    of either is read by the other. There is nothing to clip, step or zero afterwards. What needs all gradients at once is
    refused: clipping by norm, accumulation, and a loss scaled for fp16.
    A weight used in two places (tied embeddings) has one gradient, whose first part waits inside autograd for the second.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        max_grad_value: float | None = None,
        max_grad_norm: float | None = None,
        gradient_accumulation_steps: int = 1,
        scaler: Any = None,
    ) -> None:
        _refuse(optimizer, max_grad_norm, gradient_accumulation_steps, scaler)
        if max_grad_value is not None and max_grad_value <= 0:
            raise ValueError(f"max_grad_value is above 0, or null for no clipping by value, not {max_grad_value}")
        self._optimizer = optimizer
        self._max_value = max_grad_value
        self._norms: dict[tuple[Any, ...], torch.Tensor] = {}  # by the groups of processes that have other pieces
        # A group is found by its place, because a restored optimizer has new ones.
        self._places = {
            parameter: number for number, group in enumerate(optimizer.param_groups) for parameter in group["params"]
        }
        self._handles = [parameter.register_post_accumulate_grad_hook(self._step) for parameter in self._places]

    def norm(self) -> torch.Tensor:
        """The norm of all gradients since it was last asked for, before they were clipped; it does not wait for the device.

        Where weights are in pieces every process has to ask.
        """
        norms, self._norms = self._norms, {}
        return norm_over(norms)

    def remove(self) -> None:
        """Give the optimizer back: from now on `backward()` leaves the gradients where they are."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _step(self, parameter: torch.Tensor) -> None:
        own = local(parameter.grad)
        norm, spread = torch.linalg.vector_norm(own, dtype=torch.float32), spread_over(parameter.grad)
        before = self._norms.get(spread)
        self._norms[spread] = norm if before is None else torch.hypot(before, norm.to(before.device))
        if self._max_value is not None:
            own.clamp_(-self._max_value, self._max_value)
        self._step_alone(parameter)
        parameter.grad = None

    def _step_alone(self, parameter: torch.Tensor) -> None:
        """One step of the optimizer as if this parameter were its only one."""
        groups = self._optimizer.param_groups
        group = groups[self._places[parameter]]
        self._optimizer.param_groups = [{**group, "params": [parameter]}]
        try:
            self._optimizer.step()
        finally:
            self._optimizer.param_groups = groups


def _refuse(optimizer: Optimizer, max_grad_norm: float | None, accumulation: int, scaler: Any) -> None:
    if max_grad_norm is not None:
        raise ValueError(
            "fuse_optim_with_backward never has all gradients at once, so their norm is unknown while they are there: set "
            "max_grad_norm to null, or clip by value (max_grad_value)"
        )
    if accumulation != 1:
        raise ValueError(
            "fuse_optim_with_backward frees each gradient at once, so none can be accumulated: "
            "set gradient_accumulation_steps to 1"
        )
    if scaler is not None:
        raise ValueError(
            "fuse_optim_with_backward steps before it is known whether a gradient overflowed, which mixed_precision fp16 has "
            "to know: use bf16, or set fuse_optim_with_backward to false"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError(  # noqa: TRY004 - a wrong value of a config is a ValueError
            "fuse_optim_with_backward moves each parameter alone, and LBFGS moves all of them together: use another optimizer"
        )
