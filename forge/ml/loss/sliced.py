"""Cross entropy of a linear head of which each process has some rows: no process ever has whole logits.

Of each token the processes tell each other three numbers: the largest logit, the sum of the exponentials, and the logit of what
follows. As in `linear_cross_entropy` the gradients are made chunk by chunk on the way forward.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from forge.ml.loss.linear import by_chunks, chunk_rows
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

    def of_chunk(logits: torch.Tensor, some: torch.Tensor, _: object) -> tuple[torch.Tensor, torch.Tensor]:
        return _of_chunk(logits, some, peers, behind)

    rows = rows or chunk_rows(weight.shape[0] * torch.float32.itemsize * _COPIES)
    # Each process's rows of the head add to what the hidden states are to be changed by.
    return by_chunks(hidden, weight, bias, targets, of_chunk, rows=rows, total=partial(total_of, peers=peers))


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
