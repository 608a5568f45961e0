"""What processes that share matrices tell each other in the middle of a layer, and what that means for gradients.

A tensor is either the same in all of them, or each has a piece of it, or each has a part of a sum. The operations go from one of
these to another; forwards and backwards they are pairs. They are made of torch's traceable collectives, so that a compiled layer
keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

__all__ = ["Peers", "collected", "exchanged", "gathered", "handed_out", "scattered", "sliced", "summed", "total_of"]


_TRACED: Final = torch.ops._c10d_functional  # noqa: SLF001 - the collectives that torch.compile keeps have no other name


@dataclass(frozen=True, slots=True)
class Peers:
    """The processes that share matrices with this one: the name of their group, how many they are, and which one this is."""

    name: str
    size: int
    rank: int

    @classmethod
    def of(cls, mesh: DeviceMesh) -> Peers:
        """The peers along a mesh of one dimension."""
        group = mesh.get_group()
        return cls(group.group_name, dist.get_world_size(group), mesh.get_local_rank())


def handed_out(tensor: torch.Tensor, peers: Peers) -> torch.Tensor:
    """A tensor that is the same everywhere, on its way into pieces of work: its gradients are summed."""
    return _Copied.apply(tensor, peers.name) if _needs_gradient(tensor) else tensor


def summed(tensor: torch.Tensor, peers: Peers) -> torch.Tensor:
    """The sum of what each process has, which is the same everywhere from here on."""
    return _Summed.apply(tensor, peers.name)


def gathered(tensor: torch.Tensor, dim: int, peers: Peers) -> torch.Tensor:
    """All pieces side by side; what follows is done everywhere alike, so each keeps its piece of the gradient."""
    return _Gathered.apply(tensor, dim, peers.name, peers.size, peers.rank)


def sliced(tensor: torch.Tensor, dim: int, peers: Peers) -> torch.Tensor:
    """This process's piece of what is the same everywhere; the gradient is made whole of all pieces again."""
    return _Sliced.apply(tensor, dim, peers.name, peers.size, peers.rank)


def collected(tensor: torch.Tensor, dim: int, peers: Peers) -> torch.Tensor:
    """All pieces side by side, on their way into matrix products: each process gets the sum for its piece of the gradient.

    They travel in the type that the products are computed in.
    """
    return _Collected.apply(tensor, dim, peers.name, peers.size, _multiplied_in(tensor))


def scattered(tensor: torch.Tensor, dim: int, peers: Peers) -> torch.Tensor:
    """This process's piece of the sum of what each has."""
    return _Scattered.apply(tensor, dim, peers.name, peers.size, peers.rank)


def exchanged(tensor: torch.Tensor, cut: int, joined: int, peers: Peers) -> torch.Tensor:
    """Cut along one dimension, and joined along another: each process gives every other a piece and gets one of each."""
    return _Exchanged.apply(tensor, cut, joined, peers.name, peers.size)


def total_of(tensor: torch.Tensor, peers: Peers, operation: str = "sum") -> torch.Tensor:
    """The sum (``sum``) or the largest (``max``) of what each process has; nothing is differentiated through it."""
    return _total(tensor, peers.name, operation)


def _multiplied_in(tensor: torch.Tensor) -> torch.dtype:
    kind = tensor.device.type
    cast = tensor.dtype == torch.float32 and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if cast else tensor.dtype


def _needs_gradient(tensor: torch.Tensor) -> bool:
    return torch.is_grad_enabled() and tensor.requires_grad


def _total(tensor: torch.Tensor, name: str, operation: str = "sum") -> torch.Tensor:
    waiting = _TRACED.all_reduce(tensor.contiguous(), operation, name)
    return _TRACED.wait_tensor(waiting)


def _all_pieces(tensor: torch.Tensor, dim: int, name: str, size: int) -> torch.Tensor:
    waiting = _TRACED.all_gather_into_tensor(tensor.contiguous(), size, name)
    whole = _TRACED.wait_tensor(waiting)
    return whole if dim == 0 else torch.cat(whole.chunk(size, 0), dim)


def _piece(tensor: torch.Tensor, dim: int, size: int, rank: int) -> torch.Tensor:
    return tensor.chunk(size, dim)[rank].contiguous()


def _piece_of_total(tensor: torch.Tensor, dim: int, name: str, size: int) -> torch.Tensor:
    ordered = tensor if dim == 0 else torch.cat(tensor.chunk(size, dim), 0)
    waiting = _TRACED.reduce_scatter_tensor(ordered.contiguous(), "sum", size, name)
    return _TRACED.wait_tensor(waiting)


def _pieces_of_all(tensor: torch.Tensor, cut: int, joined: int, name: str, size: int) -> torch.Tensor:
    pieces = torch.stack(tensor.chunk(size, cut)).contiguous()
    waiting = _TRACED.all_to_all_single(pieces, [1] * size, [1] * size, name)
    return torch.cat(_TRACED.wait_tensor(waiting).unbind(0), joined)


class _Copied(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, name: str) -> torch.Tensor:
        ctx.name = name
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _total(gradient, ctx.name), None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, tensor: torch.Tensor, name: str) -> torch.Tensor:
        return _total(tensor, name)

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradient, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, dim: int, name: str, size: int, rank: int) -> torch.Tensor:
        ctx.place = (dim % tensor.ndim, size, rank)
        return _all_pieces(tensor, dim % tensor.ndim, name, size)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _piece(gradient, *ctx.place), None, None, None, None


class _Sliced(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, dim: int, name: str, size: int, rank: int) -> torch.Tensor:
        ctx.pieces = (dim % tensor.ndim, name, size)
        return _piece(tensor, dim % tensor.ndim, size, rank)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _all_pieces(gradient, *ctx.pieces), None, None, None, None


class _Collected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, dim: int, name: str, size: int, dtype: torch.dtype) -> torch.Tensor:
        ctx.pieces = (dim % tensor.ndim, name, size)
        return _all_pieces(tensor.to(dtype), *ctx.pieces).to(tensor.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _piece_of_total(gradient, *ctx.pieces), None, None, None, None


class _Scattered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, dim: int, name: str, size: int, rank: int) -> torch.Tensor:  # noqa: ARG004 - as the others are called
        ctx.pieces = (dim % tensor.ndim, name, size)
        return _piece_of_total(tensor, *ctx.pieces)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _all_pieces(gradient, *ctx.pieces), None, None, None, None


class _Exchanged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, cut: int, joined: int, name: str, size: int) -> torch.Tensor:
        ctx.how = (joined, cut, name, size)
        return _pieces_of_all(tensor, cut, joined, name, size)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _pieces_of_all(gradient, *ctx.how), None, None, None, None
