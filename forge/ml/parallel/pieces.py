"""What one process keeps of a tensor that is spread over several, and the whole of it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["is_spread", "local", "piece_of", "whole", "wholes"]


def is_spread(tensor: Any) -> bool:
    """Whether each process has a piece of a tensor only, or a copy that is known to be one."""
    return hasattr(tensor, "device_mesh")  # asked of every weight, also where importing DTensor would cost a second


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process has of a tensor, itself and no copy."""
    return tensor.to_local() if is_spread(tensor) else tensor


def piece_of(tensor: torch.Tensor, like: torch.Tensor, device: torch.device | None = None) -> torch.Tensor:
    """The piece of a whole tensor that this process has of ``like``, spread in the same way; a copy, so that the whole can go.

    What is not spread is given back as it is.
    """
    if not is_spread(like):
        return tensor if device is None else tensor.to(device)
    from torch.distributed.tensor import DTensor, Replicate, Shard

    mesh, piece = like.device_mesh, tensor
    # What lies on the inner dimensions of a mesh was cut first: a strided shard is a piece of a piece.
    dimensions = sorted(range(mesh.ndim), key=lambda number: type(like.placements[number]) is not Shard)
    for number in dimensions:
        placement = like.placements[number]
        if isinstance(placement, Replicate):
            continue
        place, size = mesh.get_local_rank(number), mesh.size(number)
        parts = _packed_parts(like.placements, number)
        if parts > 1:
            piece = torch.cat(torch.chunk(piece, size * parts, dim=placement.dim)[place::size], placement.dim)
            continue
        pieces = torch.chunk(piece, size, dim=placement.dim)
        piece = pieces[place] if place < len(pieces) else piece.narrow(placement.dim, 0, 0)
    expected = like.to_local().shape
    if piece.shape != expected:
        raise ValueError(f"a piece of {tuple(piece.shape)} was cut where this process has one of {tuple(expected)}")
    local = piece.clone(memory_format=torch.contiguous_format).to(device or like.device)
    return DTensor.from_local(local, mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride())


def _packed_parts(placements: Sequence[Any], number: int) -> int:
    """Of how many equal parts, such as gate and up projection in one matrix, a process has a piece each; 1 when it is one."""
    placement = placements[number]
    further = any(getattr(other, "dim", None) == placement.dim for other in placements[number + 1 :])
    return 1 if further else getattr(placement, "split_factor", 1)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor with all its pieces; every process that has one has to ask."""
    return tensor.full_tensor() if is_spread(tensor) else tensor


def wholes(value: Any, keep: Callable[[torch.Tensor], Any]) -> Any:
    """Nested dicts, lists and tuples with each tensor made whole, one after another, and given to ``keep``."""
    if isinstance(value, torch.Tensor):
        return keep(whole(value))
    if isinstance(value, dict):
        return {key: wholes(one, keep) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(wholes(one, keep) for one in value)
    return value
