"""What one process keeps of a tensor that is spread over several, and the whole of it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

__all__ = ["as_piece", "is_spread", "local", "move_pieces", "piece_of", "places_of", "whole", "wholes"]


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
    if tensor.shape != like.shape:
        raise ValueError(f"a piece of {tuple(tensor.shape)} was asked for where the whole is {tuple(like.shape)}")
    piece = tensor
    for dim, own in enumerate(places_of(like)):
        if len(own) < piece.shape[dim]:
            piece = piece.index_select(dim, own.to(piece.device))
    if piece is tensor:
        piece = tensor.clone(memory_format=torch.contiguous_format)
    return as_piece(piece, like, device)


def places_of(like: torch.Tensor) -> list[torch.Tensor]:
    """In each dimension of a spread tensor, which places of the whole this process has, in their order."""
    from torch.distributed.tensor import Replicate, Shard

    mesh = like.device_mesh
    places = [torch.arange(size) for size in like.shape]
    # What lies on the inner dimensions of a mesh was cut first: a strided shard is a piece of a piece.
    for number in sorted(range(mesh.ndim), key=lambda number: type(like.placements[number]) is not Shard):
        placement = like.placements[number]
        if isinstance(placement, Replicate):
            continue
        place, size = mesh.get_local_rank(number), mesh.size(number)
        parts = _packed_parts(like.placements, number)
        pieces = torch.chunk(places[placement.dim], size * parts)
        places[placement.dim] = torch.cat([places[placement.dim][:0], *pieces[place::size]])
    return places


def as_piece(piece: torch.Tensor, like: torch.Tensor, device: torch.device | None = None) -> torch.Tensor:
    """What this process has of a tensor, as the piece of one that is spread like another."""
    from torch.distributed.tensor import DTensor

    expected = like.to_local().shape
    if piece.shape != expected:
        raise ValueError(f"a piece of {tuple(piece.shape)} was cut where this process has one of {tuple(expected)}")
    return DTensor.from_local(
        piece.contiguous().to(device or like.device),
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )


def move_pieces(model: nn.Module, device: torch.device | str) -> None:
    """Put the pieces of a model's weights on another device; what is not spread stays where it is, and what is shared stays shared."""
    moved: dict[torch.Tensor, torch.nn.Parameter] = {}
    for module in model.modules():
        for leaf, weight in list(module.named_parameters(recurse=False)):
            if is_spread(weight):
                if weight not in moved:
                    moved[weight] = torch.nn.Parameter(weight.detach().to(device), weight.requires_grad)
                setattr(module, leaf, moved[weight])


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
