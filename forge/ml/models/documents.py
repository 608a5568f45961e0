"""Attention inside documents on a CPU: torch's own kernel, once for each document, as one operator.

A compiled block keeps the operator whole, and neither the number of documents nor their lengths are compiled into it. To pad
documents of about the same length into one call was slower: what it saves in calls it loses in copies.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["attend_documents", "heads_of"]

_LENGTHS: Final = 32  # in bfloat16 lengths are multiples of it
# Up to here the backward pass of torch's kernel takes 1.2 to 5 times as long in bfloat16 as in float32, on AVX512 without AMX.
_SHORT: Final = 256
_TOKENS: Final = 2  # the dimension of them, as a kernel takes them


def heads_of(tensor: torch.Tensor) -> torch.Tensor:
    """From (tokens, heads, width) to what a kernel takes, one row of (heads, tokens, width); or the same without a width."""
    return tensor.transpose(0, 1)[None]


@torch.library.custom_op("forge::attend_documents", mutates_args=())
def attend_documents(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bounds: torch.Tensor, window: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The answers to queries of shape (tokens, heads, width), and the logarithm of what each softmax was divided by.

    Documents lie between neighbouring ``bounds``, and a token sees so many tokens back as the ``window`` has, or all with 0.
    """
    out = query.new_empty(query.shape)
    weight = _weight_like(query)
    # Views of the whole, so that a piece is one more view of each and no three.
    asked, keys, values, answers, weights = map(heads_of, (query, key, value, out, weight))
    for first, last, seen in _pieces(bounds.tolist(), window):
        end = _rounded_end(query.dtype, len(query), first, last, seen)
        part, part_weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001 - torch has no public name for a kernel that also returns the weights
            asked[:, :, first:end],
            keys[:, :, seen:end],
            values[:, :, seen:end],
            is_causal=seen == first,
            attn_mask=_window_mask(query.dtype, first, last, seen, window),
            scale=scale,
        )
        answers[:, :, first:last] = part[:, :, : last - first]
        weights[:, :, first:last] = part_weight[:, :, : last - first]
    return out, weight


@torch.library.custom_op("forge::attend_documents_backward", mutates_args=())
def _backward(
    gradient: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    weight: torch.Tensor,
    bounds: torch.Tensor,
    window: int,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    to_query = query.new_empty(query.shape)
    # Without a window each document is one piece, and what is found for it is all there is.
    room = torch.zeros_like if window else torch.empty_like
    to_key, to_value = room(key), room(value)
    asked, keys, values, answers, weights, slope = map(heads_of, (query, key, value, out, weight, gradient))
    asked_found, *found = map(heads_of, (to_query, to_key, to_value))
    for first, last, seen in _pieces(bounds.tolist(), window):
        kind = torch.promote_types(query.dtype, torch.float32) if last - seen <= _SHORT else query.dtype
        end = _rounded_end(kind, len(query), first, last, seen)
        parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(  # noqa: SLF001 - as above
            _padded(slope[:, :, first:last].to(kind), end - last, 0.0),
            asked[:, :, first:end].to(kind),
            keys[:, :, seen:end].to(kind),
            values[:, :, seen:end].to(kind),
            answers[:, :, first:end].to(kind),
            _padded(weights[:, :, first:last], end - last, float("inf")),
            0.0,
            is_causal=seen == first,
            attn_mask=_window_mask(kind, first, last, seen, window),
            scale=scale,
        )
        asked_found[:, :, first:last] = parts[0][:, :, : last - first]
        for whole, part in zip(found, parts[1:], strict=True):
            own = part[:, :, : last - seen]
            if window:  # pieces of one document overlap in what they see
                whole[:, :, seen:last] += own
            else:
                whole[:, :, seen:last] = own
    return to_query, to_key, to_value


@attend_documents.register_fake
def _(query: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return query.new_empty(query.shape), _weight_like(query)


@_backward.register_fake
def _(
    _: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *__: Any
) -> tuple[torch.Tensor, ...]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    query, key, value, bounds, ctx.window, ctx.scale = inputs
    ctx.save_for_backward(query, key, value, *output, bounds)


def _differentiate(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    return (*_backward(gradient, *ctx.saved_tensors, ctx.window, ctx.scale), None, None, None)


attend_documents.register_autograd(_differentiate, setup_context=_keep)


def _weight_like(query: torch.Tensor) -> torch.Tensor:
    """Room for the logarithm of what each softmax is divided by."""
    return query.new_empty(query.shape[:2], dtype=torch.promote_types(query.dtype, torch.float32))


def _pieces(bounds: Sequence[int], window: int) -> Iterator[tuple[int, int, int]]:
    """Tokens from, to, and the first one they see: whole documents, or parts no longer than the window."""
    for start, stop in pairwise(bounds):
        step = window if window and stop - start > window else max(stop - start, 1)
        for first in range(start, stop, step):
            seen = max(start, first - window + 1) if step == window else start
            yield first, min(first + step, stop), seen


def _rounded_end(kind: torch.dtype, tokens: int, first: int, last: int, seen: int) -> int:
    """Where a piece ends for the kernel, which in bfloat16 keeps megabytes for every length that it has met.

    No token sees what is behind it, so a whole document may be given with the beginning of the next.
    """
    if kind == torch.float32 or seen != first:
        return last
    return min(last + (first - last) % _LENGTHS, tokens)


def _padded(tensor: torch.Tensor, more: int, value: float) -> torch.Tensor:
    """With so many tokens more, which have no part in it: no gradient, and a softmax of zeros."""
    if not more:
        return tensor
    return functional.pad(tensor, (0, 0) * (tensor.ndim - _TOKENS - 1) + (0, more), value=value)


def _window_mask(kind: torch.dtype, first: int, last: int, seen: int, window: int) -> torch.Tensor | None:
    """What is added to the scores of a piece that looks back beyond its own first token."""
    if seen == first:
        return None
    distance = torch.arange(first, last)[:, None] - torch.arange(seen, last)
    return torch.zeros(distance.shape, dtype=kind).masked_fill_((distance < 0) | (distance >= window), float("-inf"))
