"""Cross entropy behind any head: chunk by chunk through the model's own tail, differentiated on the way forward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from forge.ml.loss.linear import chunk_rows
from forge.ml.parallel.pieces import local

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["tail_cross_entropy"]

# The logits as the head makes them, what the tail makes of those, and the gradients of both are alive at once.
_COPIES = 4


def tail_cross_entropy(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    tail: Callable[[torch.Tensor], torch.Tensor],
    parameters: Sequence[torch.nn.Parameter],
    *,
    classes: int,
    rows: int | None = None,
) -> torch.Tensor:
    """The sum of the losses of all rows of ``hidden``, in float32, of which ``tail`` makes logits with ``parameters``."""
    rows = rows or chunk_rows(classes * torch.float32.itemsize * _COPIES)
    if torch.is_grad_enabled():
        # Of spread parameters the pieces are summed up, to which their own gradients are reduced.
        return _TailCrossEntropy.apply(hidden, targets, tail, rows, parameters, *map(local, parameters))
    chunks = zip(hidden.split(rows), targets.split(rows), strict=True)
    losses = [_loss(tail, chunk, target) for chunk, target in chunks if len(chunk)]
    return torch.stack(losses).sum() if losses else hidden.new_zeros((), dtype=torch.float32)


def _loss(tail: Callable[[torch.Tensor], torch.Tensor], hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(tail(hidden), targets, reduction="sum")


class _TailCrossEntropy(torch.autograd.Function):
    """Differentiates each chunk at once, so that none of its logits has to be kept or made again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        targets: torch.Tensor,
        tail: Callable[[torch.Tensor], torch.Tensor],
        rows: int,
        parameters: Sequence[torch.nn.Parameter],
        *pieces: torch.Tensor,
    ) -> torch.Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        sums = [torch.zeros_like(each, dtype=torch.float32) for each in pieces]
        to_hidden = torch.zeros_like(hidden)
        for start in range(0, len(hidden), rows):
            with torch.enable_grad():
                chunk = hidden[start : start + rows].detach().requires_grad_()
                loss = _loss(tail, chunk, targets[start : start + rows])
            found = torch.autograd.grad(loss, (chunk, *parameters), materialize_grads=True)
            to_hidden[start : start + rows] = found[0]
            for each, gradient in zip(sums, found[1:], strict=True):
                each.add_(local(gradient))
            total += loss.detach()
        ctx.gradients = (to_hidden, [each.to(mine.dtype) for each, mine in zip(sums, pieces, strict=True)])
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss have been given away: it can be differentiated once")
        (to_hidden, sums), ctx.gradients = ctx.gradients, None
        return (to_hidden.mul_(gradient), None, None, None, None, *(each.mul_(gradient) for each in sums))
