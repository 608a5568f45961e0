"""Cross entropy of a linear head of which each process has some rows: no process ever has whole logits.

Of each token the processes tell each other three numbers: the largest logit, the sum of the exponentials, and the logit of what
follows. As in `linear_cross_entropy` the gradients are made chunk by chunk on the way forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from forge.ml.loss.linear import HeadGradients, chunk_rows
from forge.ml.parallel.tensor_collectives import total_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from forge.ml.parallel.tensor_collectives import Peers

__all__ = ["sliced_cross_entropy"]

_COPIES = 3  # of a chunk's logits that are alive at once


def sliced_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    peers: Peers,
    *,
    behind: Callable[[torch.Tensor], torch.Tensor] | None = None,
    rows: int | None = None,
) -> torch.Tensor:
    """The sum of the losses of all rows of ``hidden``, the same in all processes, each of which has rows of the head.

    ``behind`` is what a model does with each logit by itself, such as a soft-cap.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    rows = rows or chunk_rows(weight.shape[0] * torch.float32.itemsize * _COPIES)
    if not torch.is_grad_enabled():
        hidden, weight, bias = (None if tensor is None else tensor.detach() for tensor in (hidden, weight, bias))
    return _SlicedCrossEntropy.apply(hidden, weight, bias, targets, peers, behind, dtype, rows)


class _SlicedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        peers: Peers,
        behind: Callable[[torch.Tensor], torch.Tensor] | None,
        dtype: torch.dtype,
        rows: int,
    ) -> torch.Tensor:
        needed = ctx.needs_input_grad[:3]
        with torch.autocast(hidden.device.type, enabled=False):
            head = weight.to(dtype)
            offset = None if bias is None else bias.to(dtype)
            gradients = HeadGradients(hidden, weight, bias, needed, single=len(hidden) <= rows)
            losses = []
            for start in range(0, len(hidden), rows):
                chunk = hidden[start : start + rows].to(dtype)
                logits = functional.linear(chunk, head, offset)
                loss, gradient = _of_chunk(logits, targets[start : start + rows], peers, behind)
                losses.append(loss)
                gradients.add(start, chunk, gradient, head)
                del logits, gradient
            if gradients.hidden is not None:  # each process's rows of the head add to it
                gradients.hidden = total_of(gradients.hidden, peers)
        ctx.gradients = gradients.finished()
        return torch.cat(losses).sum() if losses else hidden.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss have been given away: it can be differentiated once")
        mine, ctx.gradients = ctx.gradients, None
        return (*(None if each is None else each.mul_(gradient) for each in mine), *[None] * 5)


def _of_chunk(
    logits: torch.Tensor,
    targets: torch.Tensor,
    peers: Peers,
    behind: Callable[[torch.Tensor], torch.Tensor] | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses of some rows, and what the sum of them changes the logits by."""
    if behind is None:
        losses, gradient = _softmax(logits.float(), targets, peers)
        return losses, gradient.to(logits.dtype)
    with torch.enable_grad():
        before = logits.requires_grad_()
        after = behind(before)
    losses, gradient = _softmax(after.detach().clone(), targets, peers)
    (changed,) = torch.autograd.grad(after, before, gradient.to(after.dtype))
    return losses, changed.detach()


def _softmax(logits: torch.Tensor, targets: torch.Tensor, peers: Peers) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses; the logits, which are in float32, become the gradient of their sum."""
    size = logits.shape[1]
    place = targets - peers.rank * size
    here = (place >= 0) & (place < size)
    place = place.clamp(0, size - 1)[:, None]
    largest = total_of(logits.max(1).values, peers, "max")
    named = torch.where(here, logits.gather(1, place)[:, 0], 0.0)
    exponentials = logits.sub_(largest[:, None]).exp_()
    whole, named = total_of(torch.stack([exponentials.sum(1), named]), peers).unbind()
    ignored = targets < 0  # these only fill up a chunk
    losses = (whole.log() + largest - named).masked_fill_(ignored, 0.0)
    exponentials.div_(whole[:, None]).scatter_add_(1, place, -here[:, None].to(exponentials.dtype))
    return losses, exponentials.masked_fill_(ignored[:, None], 0.0)
