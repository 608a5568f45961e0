"""Results that are made again for the backward pass instead of kept.

Autograd keeps what goes into a matrix product. Where that came out of something cheap, such as a norm or a gate, whose own inputs are
kept anyway, that operation is remembered in its place, and makes its result again once it is asked for.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from forge.ml.memory.blocks import Forward, wrap_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    Remake = Callable[[torch.dtype], torch.Tensor]

__all__ = ["cast_offered", "kept_elsewhere", "offer", "remake_in"]


class _Offer:
    """A result, as long as it is there, and how it is made again."""

    def __init__(self, result: torch.Tensor, remake: Remake) -> None:
        # The reference keeps the storage's address from being given to another tensor, not its memory.
        self._alive = StorageWeakRef(result.untyped_storage())
        self._version = result._version  # noqa: SLF001 - it has no public name
        self._form = _form(result)
        self.remake = remake

    def covers(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is the whole result, by whatever shape, and unchanged."""
        return (
            not self._alive.expired() and tensor._version == self._version and _form(tensor) == self._form  # noqa: SLF001
        )


class _Again:
    """What is kept in place of a tensor."""

    __slots__ = ("_kind", "_remake", "_shape")

    def __init__(self, offer: _Offer, tensor: torch.Tensor) -> None:
        self._remake = offer.remake
        self._kind = tensor.dtype
        self._shape = tensor.shape

    def tensor(self) -> torch.Tensor:
        return self._remake(self._kind).view(self._shape)


_OFFERS: ContextVar[dict[int, _Offer] | None] = ContextVar("offers", default=None)
_ELSEWHERE: ContextVar[bool] = ContextVar("elsewhere", default=False)


def offer(result: torch.Tensor, remake: Remake) -> None:
    """Say how a result can be made again, to the last bit, as often as it is asked for, in the type that it is asked for in."""
    offers = _OFFERS.get()
    if offers is not None and result.is_contiguous():
        offers[_address(result)] = _Offer(result, remake)


def cast_offered(tensor: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """A tensor in another type, if it was offered: then the cast is offered too. Any other is returned as it is."""
    found = (_OFFERS.get() or {}).get(_address(tensor))
    if found is None or not found.covers(tensor):
        return tensor
    result = tensor.to(kind)
    offer(result, found.remake)
    return result


def remake_in(block: nn.Module) -> None:
    """Let a block keep no result that was offered inside of it; outside of training, and compiled, it runs as it is."""
    wrap_forward(block, _remaking)


@contextlib.contextmanager
def kept_elsewhere() -> Iterator[None]:
    """Somebody else decides in here what is kept, such as a checkpoint or what offloads it."""
    before = _ELSEWHERE.set(True)
    try:
        yield
    finally:
        _ELSEWHERE.reset(before)


def _remaking(inner: Forward) -> Forward:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled() or _ELSEWHERE.get():
            return inner(self, *args, **kwargs)
        offers: dict[int, _Offer] = {}
        before = _OFFERS.set(offers)

        def pack(tensor: torch.Tensor) -> torch.Tensor | _Again:
            # Attached, the output of an operation and the operation would keep each other alive for ever.
            tensor = tensor.detach()
            found = offers.get(_address(tensor))
            return _Again(found, tensor) if found is not None and found.covers(tensor) else tensor

        try:
            with saved_tensors_hooks(pack, _unpack):
                return inner(self, *args, **kwargs)
        finally:
            _OFFERS.reset(before)
            offers.clear()

    return forward


def _unpack(packed: torch.Tensor | _Again) -> torch.Tensor:
    return packed.tensor() if isinstance(packed, _Again) else packed


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata  # noqa: SLF001 - the identity of a storage has no public name


def _form(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.storage_offset(), tensor.numel(), tensor.is_contiguous()
