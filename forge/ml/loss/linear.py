"""Cross entropy of a linear head: chunk by chunk, with the gradients computed on the way forward.

The logits of a chunk become their own gradient in place, and are gone when the next chunk begins. What the head and the
hidden states are to be changed by is known at the end of the forward pass; the backward pass only scales it. That
costs three matrix products, as many as with whole logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.nn import functional

__all__ = ["CHUNK_BYTES", "OfChunk", "by_chunks", "chunk_rows", "linear_cross_entropy"]

CHUNK_BYTES: Final = 128 << 20
"""How much memory the logits of a chunk may take.

Large, because each chunk reads the whole head and adds to all of its gradient.
"""

OfChunk = Callable[[torch.Tensor, torch.Tensor, bool], tuple[torch.Tensor, torch.Tensor]]
"""Of logits and targets of some rows: the losses, and what their sum changes the logits by if that is wanted."""

# The softmax goes over a chunk in parts that stay in a processor's cache; a GPU wants fewer and larger ones.
_PART_BYTES: Final = {"cpu": 4 << 20}
_PART_BYTES_ELSEWHERE: Final = 256 << 20
_FEWEST_ROWS: Final = 16


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    *,
    rows: int | None = None,
) -> torch.Tensor:
    """The sum of the losses of all rows of ``hidden``, in float32; ``rows`` of them at once, or what `CHUNK_BYTES` allow."""
    rows = rows or chunk_rows(weight.shape[0] * _computed_in(hidden).itemsize)
    return by_chunks(hidden, weight, bias, targets, _to_gradient, rows=rows)


def by_chunks(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    of_chunk: OfChunk,
    *,
    rows: int,
    total: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> torch.Tensor:
    """The sum of the losses of all rows of ``hidden``, so many ``rows`` at once.

    ``of_chunk`` makes of some rows' logits, which it may write over, and their targets the losses and what the sum of these changes
    the logits by; it is told whether the latter is wanted. ``total`` is what becomes of the gradient of the hidden states.
    """
    if not torch.is_grad_enabled():
        hidden, weight, bias = (None if tensor is None else tensor.detach() for tensor in (hidden, weight, bias))
    return _ByChunks.apply(hidden, weight, bias, targets, of_chunk, total, _computed_in(hidden), rows)


def chunk_rows(row_bytes: int) -> int:
    """How many rows of so many bytes make a chunk."""
    return max(_FEWEST_ROWS, CHUNK_BYTES // row_bytes)


def _computed_in(hidden: torch.Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


class _ByChunks(torch.autograd.Function):
    """Gradients are made in `forward`, in the tensors that `backward` scales and gives away."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        of_chunk: OfChunk,
        total: Callable[[torch.Tensor], torch.Tensor] | None,
        dtype: torch.dtype,
        rows: int,
    ) -> torch.Tensor:
        needed = ctx.needs_input_grad[:3]
        with torch.autocast(hidden.device.type, enabled=False):
            head = weight.to(dtype)
            offset = None if bias is None else bias.to(dtype)
            gradients = _HeadGradients(hidden, weight, bias, needed, single=len(hidden) <= rows)
            losses = []
            for start in range(0, len(hidden), rows):
                chunk = hidden[start : start + rows].to(dtype)
                logits = functional.linear(chunk, head, offset)
                loss, gradient = of_chunk(logits, targets[start : start + rows], any(needed))
                losses.append(loss)
                gradients.add(start, chunk, gradient, head)
                del logits, gradient
            if total is not None and gradients.hidden is not None:
                gradients.hidden = total(gradients.hidden)
        ctx.gradients = gradients.finished()
        return torch.cat(losses).sum() if losses else hidden.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the gradients of this loss have been given away: it can be differentiated once")
        mine, ctx.gradients = ctx.gradients, None
        return (*(None if each is None else each.mul_(gradient) for each in mine), *[None] * 5)


class _HeadGradients:
    """What is added up over the chunks for hidden states, head and bias, as far as each of them is trained."""

    def __init__(
        self,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        needed: tuple[bool, ...],
        *,
        single: bool,
    ) -> None:
        # Several chunks are summed in float32 whatever the weights are; the only one needs no sum.
        self.single = single
        self.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        self.hidden = torch.zeros_like(hidden) if needed[0] else None
        self.weight = (
            torch.zeros_like(weight, dtype=torch.float32) if needed[1] and not (single and len(hidden)) else None
        )
        self.bias = torch.zeros_like(bias, dtype=torch.float32) if needed[2] else None
        self.needed = needed

    def add(self, start: int, chunk: torch.Tensor, logits: torch.Tensor, head: torch.Tensor) -> None:
        """Add those of one chunk, whose logits have become their gradient."""
        if self.hidden is not None:
            self.hidden[start : start + len(chunk)] = logits @ head
        if self.bias is not None:
            self.bias += logits.sum(0, dtype=torch.float32)
        if not self.needed[1]:
            return
        if self.single:
            self.weight = logits.T @ chunk
        elif logits.dtype == torch.float32:
            self.weight.addmm_(logits.T, chunk)
        else:
            self.weight += logits.T @ chunk

    def finished(self) -> tuple[torch.Tensor | None, ...]:
        """The sums in the types of what they belong to."""
        sums = (self.hidden, self.weight, self.bias)
        return tuple(None if each is None else each.to(dtype) for each, dtype in zip(sums, self.dtypes, strict=True))


def _to_gradient(logits: torch.Tensor, targets: torch.Tensor, wanted: bool) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: FBT001 - as `by_chunks` calls it
    """The losses of the rows, and the logits, which become where ``wanted`` what the losses' sum changes by."""
    limit = _PART_BYTES.get(logits.device.type, _PART_BYTES_ELSEWHERE)
    step = max(1, limit // (logits.shape[1] * torch.float32.itemsize))
    losses = []
    for part, target in zip(logits.split(step), targets[:, None].split(step), strict=True):
        logarithms = torch.log_softmax(part.float(), 1)
        # Rows of which nothing is learned only fill up a chunk, and a GPU has none of them.
        filling = target < 0 if part.device.type == "cpu" else None
        named = target if filling is None else target.clamp(min=0)
        losses.append(-logarithms.gather(1, named)[:, 0])
        if wanted:
            # One is taken away in float32: what is left of a sure token is too small a difference for bfloat16.
            part.copy_(logarithms.exp_().scatter_add_(1, named, -torch.ones_like(named, dtype=torch.float32)))
        if filling is not None:
            losses[-1].masked_fill_(filling[:, 0], 0.0)
            part.masked_fill_(filling, 0.0)
    return torch.cat(losses), logits
